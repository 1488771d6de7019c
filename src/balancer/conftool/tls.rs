//! The certificates of an encrypted connection to etcd, read when it is made, so that renewed ones are used at once.

use crate::config::etcd::EtcdTls;
use etcd_client::{Certificate, Identity, TlsOptions};
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;
use std::sync::Arc;

/// For gRPC.
pub(super) async fn of_grpc(tls: &EtcdTls) -> Result<TlsOptions, String> {
    let options = match &tls.ca {
        Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca).await?)),
        None => TlsOptions::new().with_native_roots(),
    };
    match &tls.identity {
        Some((cert, key)) => Ok(options.identity(Identity::from_pem(read(cert).await?, read(key).await?))),
        None => Ok(options),
    }
}

/// For HTTP.
pub(super) async fn of_http(tls: &EtcdTls) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        Some(ca) => {
            for certificate in certificates(ca).await? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let config = match &tls.identity {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let pem = read(key).await?;
            let secret = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("{}: {error}", key.display()))?;
            let chain = certificates(cert).await?;
            config.with_client_auth_cert(chain, secret).map_err(|error| format!("{}: {error}", cert.display()))?
        }
    };
    Ok(Arc::new(config))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(path).await?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    all.map_err(|error| format!("{}: {error}", path.display()))
}

async fn read(path: &Path) -> Result<Vec<u8>, String> {
    tokio::fs::read(path).await.map_err(|error| format!("cannot read {}: {error}", path.display()))
}
