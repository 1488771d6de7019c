//! What a client shows a lock server, and whom it trusts: a token, a certificate, an authority.
//!
//! Owns the files of them and when they are read: the token before each request, so that another one is used at once; the
//! certificates when they have changed. Says where a token is, never what it is.

use crate::error::{Error, Result};
use http::HeaderValue;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest file of a token, in bytes.
const TOKEN_BYTES_MAX: u64 = 4 * 1024;
/// Whom a token is not to be readable by: everyone.
const READABLE_BY_ALL: u32 = 0o004;

/// The files by which a client and a lock server know each other. Nothing of them is needed where the network is trusted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    /// The file of the token.
    pub token: Option<PathBuf>,
    /// Who vouches for the lock server; the system's authorities without it.
    pub ca: Option<PathBuf>,
    /// Our own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether a token may be sent unencrypted to another machine: the network itself is the protection.
    pub trusted_network: bool,
}

fn wrong(why: String) -> Error {
    Error::NotApplied { retry: false, why }
}

impl Credentials {
    /// The files that encrypted connections are made with.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let identity = self.identity.iter().flat_map(|(cert, key)| [cert, key]);
        self.ca.iter().chain(identity).cloned().collect()
    }

    /// What encrypted connections are made with, from what the files say now.
    ///
    /// # Errors
    /// One of them cannot be read, or makes no sense: `NotApplied`.
    pub(super) fn tls(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in chain(ca)? {
                    roots.add(certificate).map_err(|error| wrong(format!("cannot use {}: {error}", ca.display())))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        let config = builder()?.with_root_certificates(roots);
        let Some((cert, key)) = &self.identity else { return Ok(config.with_no_client_auth()) };
        let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
        let secret =
            secret.map_err(|_| wrong(format!("cannot use {}: there is no private key in it", key.display())))?;
        let own = config.with_client_auth_cert(chain(cert)?, secret);
        own.map_err(|error| wrong(format!("cannot use {}: {error}", cert.display())))
    }

    /// The header that says who asks; none without a token.
    ///
    /// # Errors
    /// The file cannot be read, everyone may read it, or there is no token in it. It may be there at the next try.
    pub(super) async fn header(&self) -> Result<Option<HeaderValue>> {
        let Some(path) = &self.token else { return Ok(None) };
        let unreadable = |why: String| {
            let why = format!("cannot read the token in {}: {why}", path.display());
            Error::NotApplied { retry: true, why }
        };
        let metadata = tokio::fs::metadata(path).await.map_err(|error| unreadable(error.to_string()))?;
        if metadata.permissions().mode() & READABLE_BY_ALL != 0 {
            return Err(unreadable(
                "everyone may read it; chmod 600 it, or 640 with the group of those who may".to_owned(),
            ));
        }
        if metadata.len() > TOKEN_BYTES_MAX {
            return Err(unreadable("that is no token, it is too long".to_owned()));
        }
        let text = tokio::fs::read_to_string(path).await.map_err(|error| unreadable(error.to_string()))?;
        let token = text.trim();
        let is_word = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| is_word);
        let mut header = header.ok_or_else(|| unreadable("there is no token in it, or more than one".to_owned()))?;
        header.set_sensitive(true);
        Ok(Some(header))
    }

    /// Whether the token may be sent there.
    ///
    /// # Errors
    /// Everyone on the way could read it: `NotApplied`, and a retry cannot help.
    pub(super) fn may_be_sent_to(&self, name: &str, is_encrypted: bool, is_here: bool) -> Result<()> {
        if self.token.is_none() || is_encrypted || is_here || self.trusted_network {
            return Ok(());
        }
        Err(wrong(format!(
            "a token is not sent unencrypted to {name}: write https://, or trusted_network = true in the configuration when the \
             network itself is the protection"
        )))
    }
}

/// What connections that are never encrypted are made with: the HTTP client wants something.
///
/// # Errors
/// None is known.
pub(super) fn no_tls() -> Result<ClientConfig> {
    Ok(builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(format!("there is no encryption to be had: {error}")))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = read(path)?;
    let all: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(wrong(format!("cannot use {}: there is no certificate in it", path.display()))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_token(path: &Path) -> Credentials {
        Credentials { token: Some(path.to_owned()), ..Credentials::default() }
    }

    #[tokio::test]
    async fn a_token_is_read_anew_and_never_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a mode");
        };
        let credentials = with_token(&path);
        let missing = credentials.header().await.expect_err("it is not there");
        assert!(missing.retryable() && missing.to_string().contains("token"), "{missing}");
        for text in ["stagger_abc\n", "stagger_def"] {
            write(text, 0o600);
            let header = credentials.header().await.expect("a token").expect("a header");
            assert_eq!(header.as_bytes(), format!("Bearer {}", text.trim()).as_bytes());
            assert!(header.is_sensitive() && !format!("{header:?}").contains("stagger"));
        }
        for (text, mode) in [("stagger_abc", 0o604), ("", 0o600), ("two words", 0o600), ("é", 0o600)] {
            write(text, mode);
            let error = credentials.header().await.expect_err(text).to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        assert_eq!(Credentials::default().header().await, Ok(None));
    }

    #[test]
    fn a_token_is_not_sent_where_everyone_can_read_it() {
        let credentials = with_token(Path::new("/t"));
        let error = credentials.may_be_sent_to("http://locks:1", false, false).expect_err("refused");
        assert!(!error.retryable() && error.to_string().contains("https://"), "{error}");
        credentials.may_be_sent_to("https://locks:1", true, false).expect("encrypted");
        credentials.may_be_sent_to("http://127.0.0.1:1", false, true).expect("to this machine");
        Credentials { trusted_network: true, ..credentials }
            .may_be_sent_to("http://l:1", false, false)
            .expect("trusted");
        Credentials::default().may_be_sent_to("http://locks:1", false, false).expect("there is no token");
    }

    #[test]
    fn files_that_make_no_sense_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let credentials = Credentials { ca: Some(path.clone()), ..Credentials::default() };
        std::fs::write(&path, "nonsense").expect("written");
        let error = credentials.tls().expect_err("no certificate");
        assert!(error.to_string().contains("ca.pem") && !error.retryable(), "{error}");
    }
}
