//! The server's certificate: from files that change, or made here.

use std::{
    fs, future, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
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
use tokio::sync::watch;

use crate::authority::{Authority, AuthorityError, Pair, Shared, Validity, written};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the authority of a server that is alone is valid.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(10 * 365);

/// How long the certificate of a server that is alone is valid.
const LEAF_LIFE: Duration = DAY.saturating_mul(90);

/// Where the server's certificate comes from.
#[derive(Debug, Clone)]
pub enum CertificateSource {
    /// `tls.crt` and `tls.key` in a directory, as a Secret is mounted; read again when they change.
    Directory(PathBuf),
    /// Made here, for `localhost`, its addresses and these names; [`Running::ca_pem`](super::Running::ca_pem)
    /// is what clients have to trust.
    SelfMade(Vec<String>),
    /// Made here by an authority that several servers share, anew when another one follows it.
    Shared {
        /// The names that the certificate is for, besides this machine's.
        names: Vec<String>,
        /// How long a certificate is valid.
        life: Duration,
        /// The authority.
        shared: watch::Receiver<Shared>,
    },
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
    #[error(transparent)]
    Make(#[from] AuthorityError),
}

/// What a TLS configuration is made of, as it was read.
#[derive(Clone, PartialEq, Eq)]
struct Material {
    pair: Pair,
    /// The certificate of the authority that has made the pair here.
    authority: Option<String>,
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
        authority: Arc<Authority>,
        names: Vec<String>,
    },
    Shared {
        names: Vec<String>,
        life: Duration,
        shared: watch::Receiver<Shared>,
    },
}

impl Source {
    fn new(source: CertificateSource, now: SystemTime) -> Result<Self, AuthorityError> {
        Ok(match source {
            CertificateSource::Directory(directory) => Self::Directory(directory),
            CertificateSource::SelfMade(names) => Self::SelfMade {
                authority: Arc::new(Authority::new(now, AUTHORITY_LIFE)?),
                names,
            },
            CertificateSource::Shared { names, life, shared } => Self::Shared { names, life, shared },
        })
    }

    /// The pair as it is now, and the certificate of the authority that has made it here.
    fn pair(
        &self,
        now: SystemTime,
        in_use: Option<&InUse>,
    ) -> Result<(Pair, Option<String>), CertificateError> {
        match self {
            Self::Directory(directory) => {
                let chain = read(
                    &directory.join(CERTIFICATE),
                    "it must hold the server's certificate as PEM",
                )?;
                let key = read(
                    &directory.join(KEY),
                    "it must hold the certificate's private key as PEM",
                )?;
                Ok((Pair { chain, key }, None))
            }
            Self::SelfMade { authority, names } => made(authority, names, LEAF_LIFE, now, in_use),
            Self::Shared { names, life, shared } => {
                let authority = Arc::clone(&shared.borrow().authority);
                made(&authority, names, *life, now, in_use)
            }
        }
    }

    /// How messages name a part of it.
    fn path(&self, file: &str) -> String {
        match self {
            Self::Directory(directory) => directory.join(file).display().to_string(),
            Self::SelfMade { .. } | Self::Shared { .. } => format!("self-made {file}"),
        }
    }
}

/// The pair in use, if this authority has made it and two thirds of its life have not passed, else a new one.
fn made(
    authority: &Authority,
    names: &[String],
    life: Duration,
    now: SystemTime,
    in_use: Option<&InUse>,
) -> Result<(Pair, Option<String>), CertificateError> {
    let own = in_use.filter(|in_use| in_use.material.authority.as_deref() == Some(authority.pem()));
    let is_of_use = |validity: &Validity| now < validity.renewal() && validity.problem(now).is_none();
    let pair = match own {
        // By an authority that is out of its time nothing better can be made.
        Some(own) if is_of_use(&own.validity) || authority.validity().problem(now).is_some() => {
            own.material.pair.clone()
        }
        _ => authority.issue(names, now, life)?,
    };
    Ok((pair, Some(authority.pem().to_owned())))
}

/// How to make a TLS configuration.
struct Recipe {
    source: Source,
    client_ca: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
}

impl Recipe {
    fn read(&self, now: SystemTime, in_use: Option<&InUse>) -> Result<Material, CertificateError> {
        let (pair, authority) = self.source.pair(now, in_use)?;
        let client_ca = match &self.client_ca {
            Some(path) => Some(read(
                path,
                "it must hold the authorities of client certificates as PEM",
            )?),
            None => None,
        };
        Ok(Material {
            pair,
            authority,
            client_ca,
        })
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
        let recipe = Recipe {
            source: Source::new(source, now)?,
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
            Source::Directory(_) | Source::Shared { .. } => None,
        }
    }

    /// Why clients will not take the certificate in use at `now`.
    pub(super) fn problem(&self, now: SystemTime) -> Option<String> {
        let validity = self.in_use.lock().validity;
        let expiry = validity.problem(now);
        match &self.recipe.source {
            _ if expiry.is_some() => expiry.map(|problem| format!("the server's certificate {problem}")),
            Source::Shared { shared, .. } => shared.borrow().distrust.clone(),
            Source::Directory(_) | Source::SelfMade { .. } => None,
        }
    }

    /// Returns when the authority is another one; never, where none is shared.
    pub(super) async fn authority_changed(&self) {
        let Source::Shared { shared, .. } = &self.recipe.source else {
            return future::pending().await;
        };
        let in_use = self.in_use.lock().material.authority.clone();
        let mut shared = shared.clone();
        let is_new = |shared: &Shared| Some(shared.authority.pem()) != in_use.as_deref();
        if shared.wait_for(is_new).await.is_err() {
            // Nobody can change it any more.
            future::pending::<()>().await;
        }
    }

    /// How long a pair that is made here needs no renewal, at `now`.
    pub(super) fn until_renewal(&self, now: SystemTime) -> Option<Duration> {
        let in_use = self.in_use.lock();
        in_use.material.authority.as_ref()?;
        Some(in_use.validity.renewal().duration_since(now).unwrap_or_default())
    }

    /// How many seconds the certificate in use is still valid at `now`; negative once it has expired.
    pub(super) fn seconds_left(&self, now: SystemTime) -> i64 {
        let until = self.in_use.lock().validity.until;
        match until.duration_since(now) {
            Ok(left) => seconds(left),
            Err(past) => -seconds(past.duration()),
        }
    }

    /// For how many seconds the certificate in use is valid in all.
    pub(super) fn seconds_of_life(&self) -> i64 {
        let in_use = self.in_use.lock();
        let Validity { from, until } = in_use.validity;
        // What is made here is valid a while before it is made.
        let is_own = in_use.material.authority.is_some();
        let from = if is_own { in_use.validity.made() } else { from };
        seconds(until.duration_since(from).unwrap_or_default())
    }

    /// The directories in which files are that it is made of.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        let own = match &self.recipe.source {
            Source::Directory(directory) => Some(directory.clone()),
            Source::SelfMade { .. } | Source::Shared { .. } => None,
        };
        let of_clients = self.recipe.client_ca.as_deref().and_then(Path::parent);
        let here = |directory: &Path| {
            if directory.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                directory.to_owned()
            }
        };
        own.into_iter().chain(of_clients.map(here)).collect()
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

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
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
