//! TLS settings from PEM files: what listeners accept with, what upstreams are connected with.
//!
//! Files are read here, once, when the configuration is resolved. Errors name the file and what is wrong with
//! it, never what it holds. Called by [`super::resolve`].

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::HttpVersion;

/// The certificates of a PEM file, in its order.
pub(super) fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let unreadable = |error| pem_error(path, "certificate", &error);
    let chain: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(unreadable)?
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    if chain.is_empty() {
        return Err(pem_error(path, "certificate", &pem::Error::NoItemsFound));
    }
    Ok(chain)
}

/// The private key of a PEM file: PKCS#8, PKCS#1 or SEC1.
pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| pem_error(path, "private key", &error))
}

/// What a listener accepts with: TLS 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN.
pub(super) fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![H2.to_vec(), HTTP1.to_vec()];
    // Each ticket costs a write and memory; clients of an API rarely need a second.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// What an upstream is connected with.
pub(super) fn client(
    roots: Arc<RootCertStore>,
    http: HttpVersion,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match http {
        HttpVersion::Auto => vec![H2.to_vec(), HTTP1.to_vec()],
        HttpVersion::Http1 => vec![HTTP1.to_vec()],
        HttpVersion::Http2 => vec![H2.to_vec()],
    };
    Ok(Arc::new(config))
}

/// The certificate authorities of a PEM file.
pub(super) fn roots(path: &Path) -> Result<Arc<RootCertStore>, String> {
    let mut store = RootCertStore::empty();
    for certificate in chain(path)? {
        store.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(Arc::new(store))
}

/// The certificate authorities of the system; read once for the process, when they are first asked for.
pub(super) fn system_roots() -> Result<Arc<RootCertStore>, String> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        // Some files of a system store may be unreadable or malformed; what is left is what can be trusted.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    });
    match roots.is_empty() {
        true => Err("this system has no certificate authorities to trust (install ca-certificates, set \
                     SSL_CERT_FILE, or write ca = \"PATH\" in the upstream)"
            .to_owned()),
        false => Ok(Arc::clone(roots)),
    }
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

fn pem_error(path: &Path, item: &str, error: &pem::Error) -> String {
    let path = path.display();
    match error {
        pem::Error::Io(error) => format!("cannot read {path}: {error}"),
        pem::Error::NoItemsFound => format!("{path} holds no {item} in PEM form"),
        _ => format!("{path} holds a damaged PEM block"),
    }
}

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const H2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpn_follows_the_http_version() {
        let offered = |http| client(Arc::new(RootCertStore::empty()), http).unwrap().alpn_protocols.clone();
        assert_eq!(offered(HttpVersion::Auto), [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(offered(HttpVersion::Http1), [b"http/1.1".to_vec()]);
        assert_eq!(offered(HttpVersion::Http2), [b"h2".to_vec()]);
    }

    #[test]
    fn listener_takes_a_chain_with_its_key_and_refuses_another_key() {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let other = rcgen::KeyPair::generate().unwrap();
        let directory = std::env::temp_dir().join(format!("tidegate-tls-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let (cert_path, key_path) = (directory.join("cert.pem"), directory.join("key.pem"));
        std::fs::write(&cert_path, made.cert.pem()).unwrap();
        std::fs::write(&key_path, made.signing_key.serialize_pem()).unwrap();

        let config = server(chain(&cert_path).unwrap(), key(&key_path).unwrap()).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        assert_eq!(config.send_tls13_tickets, 1);
        assert_eq!(roots(&cert_path).unwrap().len(), 1);

        std::fs::write(&key_path, other.serialize_pem()).unwrap();
        assert!(server(chain(&cert_path).unwrap(), key(&key_path).unwrap()).is_err());
        assert!(chain(&key_path).unwrap_err().ends_with("holds no certificate in PEM form"));
        assert!(key(&cert_path).unwrap_err().ends_with("holds no private key in PEM form"));
        std::fs::remove_dir_all(directory).unwrap();
    }
}
