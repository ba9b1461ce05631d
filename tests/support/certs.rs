//! A certificate authority and a certificate for `localhost`, made anew for each test that wants TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Dir;

/// Certificates on disk, and configurations for both sides.
#[derive(Debug)]
pub struct Certs {
    /// PEM file of the authority.
    pub ca: PathBuf,
    /// PEM file of the chain, leaf first.
    pub cert: PathBuf,
    /// PEM file of the private key.
    pub key: PathBuf,
    _dir: Dir,
}

impl Certs {
    /// For `localhost` and 127.0.0.1.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("an empty list of names is fine");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().expect("a key can be made");
        let ca = params.self_signed(&ca_key).expect("the authority signs itself");
        let issuer = Issuer::new(params, ca_key);

        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let leaf_key = KeyPair::generate().expect("a key can be made");
        let leaf = CertificateParams::new(names).expect("the names are valid");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("the authority signs");

        let dir = Dir::new();
        Certs {
            ca: dir.write("ca.pem", ca.pem().as_bytes()),
            cert: dir.write("cert.pem", leaf.pem().as_bytes()),
            key: dir.write("key.pem", leaf_key.serialize_pem().as_bytes()),
            _dir: dir,
        }
    }

    /// The server side, offering `alpn`.
    pub fn server(&self, alpn: &[&str]) -> Arc<rustls::ServerConfig> {
        let chain = vec![CertificateDer::from_pem_file(&self.cert).expect("the certificate reads back")];
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("the key reads back");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("key and certificate belong together");
        config.alpn_protocols = protocols(alpn);
        Arc::new(config)
    }

    /// The client side: trusts this authority only, offers `alpn`.
    pub fn client(&self, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS, alpn)
    }

    /// A client that trusts the authority and speaks these versions of TLS only.
    pub fn client_of(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<rustls::ClientConfig> {
        let mut roots = rustls::RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(&self.ca).expect("the authority reads back");
        roots.add(ca).expect("the authority is a root");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols(alpn);
        Arc::new(config)
    }

    /// The `tls = …` value of a listener.
    pub fn listener_tls(&self) -> String {
        format!("{{ cert = {:?}, key = {:?} }}", self.cert.display(), self.key.display())
    }
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
