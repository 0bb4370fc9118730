//! The server's certificate: from files that change, or made here.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum_server::tls_rustls::RustlsConfig;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use super::authority::{Authority, Pair};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Where the server's certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateSource {
    /// `tls.crt` and `tls.key` in a directory, as a Secret is mounted; read again when they change.
    Directory(PathBuf),
    /// Made here, for `localhost`, its addresses and these names; [`Running::ca_pem`](super::Running::ca_pem)
    /// is what clients have to trust.
    SelfMade(Vec<String>),
}

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}; {hint}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What it should hold.
        hint: &'static str,
    },
    /// A file is not the PEM that it should be.
    #[error("`{path}` holds no usable {what}: {why}; it must be PEM")]
    Pem {
        /// The file, or what stands for it.
        path: String,
        /// A certificate or a private key.
        what: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The certificate and the key do not belong together, or rustls cannot use them.
    #[error("`{certificate}` and its key cannot be used: {source}; they must be one pair")]
    Pair {
        /// The certificate.
        certificate: String,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The client authorities cannot be used.
    #[error("the authorities in `{}` cannot check client certificates: {source}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
    /// A new certificate is out of its time while the one in use is not.
    #[error("`{certificate}` {problem}")]
    OutOfDate {
        /// The certificate.
        certificate: String,
        /// Expired, or not valid yet.
        problem: String,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}; check the names it is for")]
    Make(#[from] rcgen::Error),
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Validity {
    from: SystemTime,
    until: SystemTime,
}

impl Validity {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let validity = parsed.validity();
        Ok(Self {
            from: time(validity.not_before.timestamp()),
            until: time(validity.not_after.timestamp()),
        })
    }

    /// Why a certificate cannot be used at `now`.
    fn problem(&self, now: SystemTime) -> Option<String> {
        if now > self.until {
            Some(format!("expired at {}", written(self.until)))
        } else if now < self.from {
            Some(format!("is valid only from {}", written(self.from)))
        } else {
            None
        }
    }

    /// When two thirds of its life have passed.
    fn renewal(&self) -> SystemTime {
        let life = self.until.duration_since(self.from).unwrap_or_default();
        self.from + life * 2 / 3
    }
}

fn time(seconds: i64) -> SystemTime {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 {
        UNIX_EPOCH - distance
    } else {
        UNIX_EPOCH + distance
    }
}

fn written(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}

/// What a TLS configuration is made of, as it was read.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    pair: Pair,
    client_ca: Option<Vec<u8>>,
}

/// What is in use.
struct InUse {
    material: Material,
    validity: Validity,
    /// What was wrong when it was last to be replaced.
    complaint: Option<String>,
}

/// Where the certificate and its key come from.
enum Source {
    Directory(PathBuf),
    SelfMade {
        authority: Box<Authority>,
        names: Vec<String>,
    },
}

impl Source {
    /// The pair as it is now; a pair made here stays until two thirds of its life have passed.
    fn pair(&self, now: SystemTime, in_use: Option<&InUse>) -> Result<Pair, CertificateError> {
        match (self, in_use) {
            (Self::Directory(directory), _) => Ok(Pair {
                chain: read(
                    &directory.join(CERTIFICATE),
                    "it must hold the server's certificate as PEM",
                )?,
                key: read(
                    &directory.join(KEY),
                    "it must hold the certificate's private key as PEM",
                )?,
            }),
            (Self::SelfMade { .. }, Some(in_use)) if now < in_use.validity.renewal() => {
                Ok(in_use.material.pair.clone())
            }
            (Self::SelfMade { authority, names }, _) => Ok(authority.issue(names, now)?),
        }
    }

    /// How messages name a part of it.
    fn path(&self, file: &str) -> String {
        match self {
            Self::Directory(directory) => directory.join(file).display().to_string(),
            Self::SelfMade { .. } => format!("self-made {file}"),
        }
    }
}

/// How to make a TLS configuration.
struct Recipe {
    source: Source,
    client_ca: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
}

impl Recipe {
    fn read(&self, now: SystemTime, in_use: Option<&InUse>) -> Result<Material, CertificateError> {
        let pair = self.source.pair(now, in_use)?;
        let client_ca = match &self.client_ca {
            Some(path) => Some(read(
                path,
                "it must hold the authorities of client certificates as PEM",
            )?),
            None => None,
        };
        Ok(Material { pair, client_ca })
    }

    fn build(&self, material: &Material) -> Result<(Arc<ServerConfig>, Validity), CertificateError> {
        let chain = certificates(&material.pair.chain, &self.source.path(CERTIFICATE))?;
        let key =
            PrivateKeyDer::from_pem_slice(&material.pair.key).map_err(|error| CertificateError::Pem {
                path: self.source.path(KEY),
                what: "private key",
                why: error.to_string(),
            })?;
        let leaf = chain
            .first()
            .map_or_else(|| Err("there is none".to_owned()), Validity::of);
        let validity = leaf.map_err(|why| CertificateError::Pem {
            path: self.source.path(CERTIFICATE),
            what: "certificate",
            why,
        })?;

        let unusable = |source| CertificateError::Pair {
            certificate: self.source.path(CERTIFICATE),
            source,
        };
        let builder = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match (&self.client_ca, &material.client_ca) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(pem, &path.display().to_string())? {
                    roots.add(root).map_err(unusable)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), self.provider.clone())
                        .build()
                        .map_err(|source| CertificateError::ClientCa {
                            path: path.clone(),
                            source,
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok((Arc::new(config), validity))
    }
}

/// What came of looking for a new certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It is the one in use.
    Unchanged,
    /// New connections get the new one.
    Replaced,
    /// The one that is there cannot be used, so the one in use stays.
    Failed,
}

/// The server's certificate, and what checks those of clients.
pub(super) struct Certificates {
    recipe: Recipe,
    tls: RustlsConfig,
    in_use: Mutex<InUse>,
    errors: Counter,
}

impl Certificates {
    /// Reads or makes the server's certificate. With `client_ca`, a client must show a certificate that one
    /// of these authorities has signed. `errors` counts the times that a new certificate cannot be used.
    pub(super) fn load(
        source: CertificateSource,
        client_ca: Option<PathBuf>,
        errors: Counter,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let source = match source {
            CertificateSource::Directory(directory) => Source::Directory(directory),
            CertificateSource::SelfMade(names) => Source::SelfMade {
                authority: Box::new(Authority::new(now)?),
                names,
            },
        };
        let recipe = Recipe {
            source,
            client_ca,
            provider: Arc::new(aws_lc_rs::default_provider()),
        };
        let material = recipe.read(now, None)?;
        let (config, validity) = recipe.build(&material)?;
        let in_use = Mutex::new(InUse {
            material,
            validity,
            complaint: None,
        });
        Ok(Self {
            recipe,
            tls: RustlsConfig::from_config(config),
            in_use,
            errors,
        })
    }

    /// The configuration for the listener; it follows every replacement.
    pub(super) fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// The authority of a self-made certificate.
    pub(super) fn ca_pem(&self) -> Option<&str> {
        match &self.recipe.source {
            Source::SelfMade { authority, .. } => Some(authority.pem()),
            Source::Directory(_) => None,
        }
    }

    /// Why clients will not take the certificate in use at `now`.
    pub(super) fn problem(&self, now: SystemTime) -> Option<String> {
        let validity = self.in_use.lock().validity;
        validity
            .problem(now)
            .map(|problem| format!("the server's certificate {problem}"))
    }

    /// Looks for a new certificate, and puts it in use if it is good.
    ///
    /// It goes by the files' content: the kubelet swaps a symlink above them, so they themselves never change.
    pub(super) fn refresh(&self, now: SystemTime) -> Refresh {
        let mut in_use = self.in_use.lock();
        // The files may be swapped between the reading of one and the other: the second reading is whole.
        match self
            .replace(&mut in_use, now)
            .or_else(|_| self.replace(&mut in_use, now))
        {
            Ok(refresh) => {
                if in_use.complaint.take().is_some() || refresh == Refresh::Replaced {
                    tracing::info!(
                        "the certificate is valid until {}",
                        written(in_use.validity.until)
                    );
                }
                refresh
            }
            Err(error) => {
                self.errors.inc();
                let complaint = error.to_string();
                if in_use.complaint.as_ref() != Some(&complaint) {
                    tracing::error!("no new certificate: {complaint}; the one in use stays");
                    in_use.complaint = Some(complaint);
                }
                Refresh::Failed
            }
        }
    }

    fn replace(&self, in_use: &mut InUse, now: SystemTime) -> Result<Refresh, CertificateError> {
        let material = self.recipe.read(now, Some(in_use))?;
        if material == in_use.material {
            return Ok(Refresh::Unchanged);
        }
        let (config, validity) = self.recipe.build(&material)?;
        if let (Some(problem), None) = (validity.problem(now), in_use.validity.problem(now)) {
            let certificate = self.recipe.source.path(CERTIFICATE);
            return Err(CertificateError::OutOfDate { certificate, problem });
        }
        self.tls.reload_from_config(config);
        in_use.material = material;
        in_use.validity = validity;
        Ok(Refresh::Replaced)
    }
}

fn read(path: &Path, hint: &'static str) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|source| CertificateError::Read {
        path: path.to_owned(),
        source,
        hint,
    })
}

fn certificates(pem: &[u8], path: &str) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let unusable = |why: String| CertificateError::Pem {
        path: path.to_owned(),
        what: "certificate",
        why,
    };
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    if certificates.is_empty() {
        Err(unusable("there is none".to_owned()))
    } else {
        Ok(certificates)
    }
}
