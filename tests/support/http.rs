//! An HTTP client for connections that nobody encrypts. Without saying so, the client would want a provider of encryption that the
//! whole process shares.

use std::sync::Arc;

/// The beginning of one.
pub(crate) fn http() -> reqwest::ClientBuilder {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let tls = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    reqwest::Client::builder().no_proxy().tls_backend_preconfigured(tls)
}

/// Asks once.
pub(crate) async fn get(url: &str) -> reqwest::Result<reqwest::Response> {
    http().build()?.get(url).send().await
}
