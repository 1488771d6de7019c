//! TLS: the door's certificate and key, and who vouches for clients; read again when the files change.
//!
//! Owns the configuration of encrypted connections, and which names a client's certificate is made out to. Waits for nobody: that is
//! the connection's own task.

use super::settings::Tls;
use super::watched::Watched;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;

/// Why there is no encryption to be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {why}", path.display())]
pub struct CertificateError {
    path: PathBuf,
    why: String,
}

/// What encrypted connections are made with.
#[derive(Debug)]
pub(super) struct Certificates(Watched<Arc<ServerConfig>>);

impl Certificates {
    /// Reads the files.
    ///
    /// # Errors
    /// One of them cannot be read, or they do not belong together.
    pub(super) fn open(tls: &Tls) -> Result<Certificates, CertificateError> {
        let paths = [&tls.cert, &tls.key].into_iter().chain(&tls.client_ca).cloned().collect();
        let tls = tls.clone();
        Watched::open(paths, move || load(&tls)).map(Certificates)
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&*self.0.get()))
    }

    /// Reads the files again when they have changed. Returns whether what counts is what is on disk.
    pub(super) fn look(&self) -> bool {
        self.0.look()
    }
}

fn load(tls: &Tls) -> Result<Arc<ServerConfig>, CertificateError> {
    let wrong = |path: &Path, why: String| CertificateError { path: path.to_owned(), why };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&tls.cert, error.to_string()))?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            for certificate in chain(ca)? {
                roots.add(certificate).map_err(|error| wrong(ca, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(ca, error.to_string()))?)
        }
    };
    let key = PrivateKeyDer::from_pem_slice(&read(&tls.key)?);
    let key = key.map_err(|error| wrong(&tls.key, format!("there is no private key in it: {error}")))?;
    let mut config =
        builder.with_single_cert(chain(&tls.cert)?, key).map_err(|error| wrong(&tls.cert, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let wrong = |why: String| CertificateError { path: path.to_owned(), why };
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(wrong("there is no certificate in it".to_owned())),
        Ok(all) => Ok(all),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    std::fs::read(path).map_err(|error| CertificateError { path: path.to_owned(), why: error.to_string() })
}

/// The DNS names that a client's certificate, which was found good, is made out to.
pub(super) fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    match webpki::EndEntityCert::try_from(certificate) {
        Ok(certificate) => certificate.valid_dns_names().map(str::to_owned).collect(),
        Err(_) => Vec::new(),
    }
}
