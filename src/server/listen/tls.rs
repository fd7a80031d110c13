//! TLS for servers without a proxy in front.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing or invalid.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },
    /// The certificate and the key cannot be used together.
    #[error("the certificate and the key cannot be used together: {0}")]
    Pair(#[from] rustls::Error),
}

/// A certificate and its key. Both can be replaced while connections are open. Cloning is cheap.
#[derive(Clone)]
pub struct Tls(Arc<Files>);

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Tls {
    /// Reads the certificate with its chain, and the key. Both files are PEM.
    ///
    /// # Errors
    /// When a file cannot be read, or the certificate and the key do not match.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let current = RwLock::new(Arc::new(read(certificate, key)?));
        Ok(Self(Arc::new(Files { certificate: certificate.into(), key: key.into(), current })))
    }

    /// Reads both files again for new connections. After an error the old certificate stays in use.
    ///
    /// # Errors
    /// As for [`Tls::load`].
    pub fn reload(&self) -> Result<(), TlsError> {
        *self.0.current.write() = Arc::new(read(&self.0.certificate, &self.0.key)?);
        Ok(())
    }

    /// Why every browser refuses the certificate at this time, if it does: because it has expired or is not valid yet.
    /// Other doubts, such as an authority that browsers do not know, are not answered here.
    #[must_use]
    pub fn refusal(&self, at: UnixTime) -> Option<&'static str> {
        let current = Arc::clone(&self.0.current.read());
        let certificate = ParsedCertificate::try_from(current.cert.first()?).ok()?;
        // The dates are checked before the authority, which is not known here.
        let verified = verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &RootCertStore::empty(),
            &[],
            at,
            ring::default_provider().signature_verification_algorithms.all,
        );
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => Some("the certificate has expired"),
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            )) => Some("the certificate is not valid yet"),
            _ => None,
        }
    }

    /// The acceptor for TLS handshakes. It offers HTTP/2 and HTTP/1.1.
    ///
    /// # Errors
    /// Never: this build supports the default protocol versions.
    pub fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.0) as Arc<dyn ResolvesServerCert>);
        // A stream keeps only the key for sending; see `tls_stream`.
        config.enable_secret_extraction = true;
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
    let file_error = |path: &Path, reason: String| TlsError::File { path: path.into(), reason };
    let text =
        |path: &Path| std::fs::read(path).map_err(|error: io::Error| file_error(path, error.to_string()));
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| file_error(certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(file_error(certificate, "contains no certificate".to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|error| file_error(key, error.to_string()))?;
    Ok(CertifiedKey::from_der(chain, private, &ring::default_provider())?)
}
