//! TLS by the server itself, for those who have no proxy in front of it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or not what it should be.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate and the key can't be used together.
    #[error("the certificate and the key can't be used: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate with its key, which can be replaced while connections are open. Cloning is cheap.
#[derive(Clone)]
pub struct Tls(Arc<Files>);

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Tls {
    /// Reads the certificate (with those that lead to its root) and its key, both PEM.
    ///
    /// # Errors
    /// When they can't be read or don't belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Self(Arc::new(Files { certificate: certificate.into(), key: key.into(), current })))
    }

    /// Reads both files again; new connections get what they hold now. After an error, what was there before.
    ///
    /// # Errors
    /// As for [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.0.current.write() = Arc::new(read(&self.0.certificate, &self.0.key)?);
        Ok(())
    }

    /// What shakes hands with clients, offering HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// Never, for protocol versions that this build has.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read()))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let fault = |path: &Path, reason: String| TlsError::File { path: path.into(), reason };
    let text = |path: &Path| std::fs::read(path).map_err(|error: io::Error| fault(path, error.to_string()));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(fault(certificate, "holds no certificate".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|error| fault(key, error.to_string()))?;
    Ok(CertifiedKey::from_der(chain, private, &ring::default_provider())?)
}
