//! TLS of the listeners. The certificate, its key and the client authorities come from files that
//! are read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use keystile::request::key_hash::{KeyHash, KeyHasher};
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tracing::{info, warn};
use x509_parser::parse_x509_certificate;
use x509_parser::time::ASN1Time;

/// How often the files are checked. Kubernetes takes longer to update a mounted Secret.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// The options that name the files, for errors.
const CERT: &str = "--tls-cert";
const KEY: &str = "--tls-key";
const CLIENT_CA: &str = "--tls-client-ca";

/// The paths of the certificate, its key and the client authorities.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// The server's certificate, followed by its intermediate certificates, in PEM.
    pub(crate) cert: PathBuf,
    /// The certificate's key, in PEM and without a password.
    pub(crate) key: PathBuf,
    /// The authorities that issue client certificates, in PEM. If `None`, clients need no certificate.
    pub(crate) client_ca: Option<PathBuf>,
}

/// The current certificate of all listeners with TLS. `Debug` shows no key.
pub(crate) struct Tls {
    files: TlsFiles,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    /// The hash of the files' contents.
    version: KeyHash,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = &self.files;
        f.debug_struct("Tls")
            .field("files", files)
            .finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one of them cannot be used, or the key does not match the certificate. The error names
    /// the option and the file.
    pub(crate) fn load(files: TlsFiles) -> anyhow::Result<Self> {
        let contents = Contents::read(&files)?;
        let current = Mutex::new(Current {
            acceptor: contents.acceptor(&files)?,
            version: contents.version(),
        });
        Ok(Self { files, current })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.lock();
        let current = current.unwrap_or_else(PoisonError::into_inner);
        current.acceptor.clone()
    }

    /// Reads the files again whenever they change, until the future is dropped. While they cannot
    /// be used, the previous ones stay in use. Open connections are not affected.
    pub(crate) async fn follow(self: Arc<Self>, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Files are replaced one after the other, so a single failure is not worth a warning.
        let mut failure = Failure::default();
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            // It fails only if the reload panicked.
            let Ok(reloaded) = spawn_blocking(move || tls.reload()).await else {
                continue;
            };
            match reloaded {
                Ok(reloaded) => {
                    failure = Failure::default();
                    if reloaded {
                        info!("the TLS certificate was replaced");
                    }
                }
                Err(problem) => {
                    let problem = format!("{problem:#}");
                    if failure.is_news(&problem) {
                        warn!(
                            problem,
                            "the new TLS files cannot be used; the previous ones stay in use"
                        );
                    }
                }
            }
        }
    }

    /// Reads the files again. Returns whether they had changed.
    fn reload(&self) -> anyhow::Result<bool> {
        let contents = Contents::read(&self.files)?;
        let version = contents.version();
        let current = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current().version == version {
            return Ok(false);
        }
        let acceptor = contents.acceptor(&self.files)?;
        *current() = Current { acceptor, version };
        Ok(true)
    }
}

/// The last failure.
#[derive(Default)]
struct Failure {
    problem: Option<String>,
    was_told: bool,
}

impl Failure {
    /// Returns whether a problem occurs for the second time in a row, and was not reported before.
    fn is_news(&mut self, problem: &str) -> bool {
        let again = self.problem.as_deref() == Some(problem);
        let news = again && !self.was_told;
        self.was_told = again;
        self.problem = Some(problem.to_owned());
        news
    }
}

/// The contents of the files.
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let read = |option: &str, file: &Path| {
            std::fs::read(file).with_context(|| format!("{option} {}", file.display()))
        };
        let client_ca = files.client_ca.as_deref();
        Ok(Self {
            cert: read(CERT, &files.cert)?,
            key: read(KEY, &files.key)?,
            client_ca: client_ca.map(|file| read(CLIENT_CA, file)).transpose()?,
        })
    }

    fn version(&self) -> KeyHash {
        let client_ca = self.client_ca.as_deref().unwrap_or_default();
        let hash = |part: &[u8]| KeyHasher::default().hash(part);
        let parts = [&self.cert[..], &self.key, client_ca].map(hash);
        let parts = parts.map(|hash| *hash.as_bytes());
        hash(&parts.concat())
    }

    fn acceptor(&self, files: &TlsFiles) -> anyhow::Result<TlsAcceptor> {
        let cert = format!("{CERT} {}", files.cert.display());
        let chain = certificates(&self.cert).with_context(|| cert.clone())?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).with_context(|| {
            let file = files.key.display();
            format!("{KEY} {file}: expected a private key in PEM, without a password")
        })?;
        let provider = Arc::new(ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions()?;
        let config = match (&files.client_ca, &self.client_ca) {
            (Some(file), Some(pem)) => {
                let option = || format!("{CLIENT_CA} {}", file.display());
                config.with_client_cert_verifier(verifier(pem, provider).with_context(option)?)
            }
            _ => config.with_no_client_auth(),
        };
        let leaf = chain.first().cloned();
        let mut config = config.with_single_cert(chain, key).with_context(|| {
            let key = files.key.display();
            format!(
                "{cert}, {KEY} {key}: the certificate and the key do not match, or cannot be used"
            )
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if let Some(leaf) = leaf {
            warn_of_time(&leaf, &files.cert);
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(pem: &[u8]) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.context("expected certificates in PEM")?;
    if certificates.is_empty() {
        bail!("expected certificates in PEM, but found none");
    }
    Ok(certificates)
}

fn verifier(
    pem: &[u8],
    provider: Arc<tokio_rustls::rustls::crypto::CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(verifier.build()?)
}

/// Warns if a certificate has expired or is not valid yet. It is used nevertheless, because clocks
/// may differ.
fn warn_of_time(certificate: &CertificateDer<'_>, file: &Path) {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else {
        return;
    };
    let file = file.display();
    let validity = parsed.validity();
    let now = ASN1Time::from(OffsetDateTime::now_utc());
    if now > validity.not_after {
        let not_after = validity.not_after;
        warn!(%file, %not_after, "the TLS certificate has expired");
    } else if now < validity.not_before {
        let not_before = validity.not_before;
        warn!(%file, %not_before, "the TLS certificate is not valid yet");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_when_it_lasts() {
        let mut failure = Failure::default();
        let cases = [
            ("no key", false),
            ("no PEM", false),
            ("no PEM", true),
            ("no PEM", false),
            ("no PEM", false),
            ("no key", false),
            ("no key", true),
            ("no key", false),
        ];
        for (at, (problem, news)) in cases.into_iter().enumerate() {
            assert_eq!(failure.is_news(problem), news, "{at}: {problem}");
        }
    }
}
