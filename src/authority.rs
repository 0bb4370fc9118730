//! Certificate authorities of our own, and the server certificates that they sign. No sockets, no Kubernetes.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};

/// How much of their time before they are made certificates are valid already: clocks that are behind take them.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The names by which a server on this machine is reached.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// An authority that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}; check the names it is for")]
    Make(rcgen::Error),
    /// What is given is no certificate of an authority.
    #[error("no usable certificate of an authority: {0}")]
    Certificate(String),
    /// What is given is no key, or that of another certificate.
    #[error("no usable key of that certificate: {0}")]
    Key(String),
}

/// When a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub from: SystemTime,
    /// The last second.
    pub until: SystemTime,
}

impl Validity {
    /// That of a certificate; `Err` says why it is none.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) =
            x509_parser::parse_x509_certificate(certificate).map_err(|error| error.to_string())?;
        let validity = parsed.validity();
        Ok(Self {
            from: time(validity.not_before.timestamp()),
            until: time(validity.not_after.timestamp()),
        })
    }

    /// Why a certificate cannot be used at `now`.
    pub fn problem(&self, now: SystemTime) -> Option<String> {
        if now > self.until {
            Some(format!("expired at {}", written(self.until)))
        } else if now < self.from {
            Some(format!("is valid only from {}", written(self.from)))
        } else {
            None
        }
    }

    /// When two thirds of its life have passed.
    pub fn renewal(&self) -> SystemTime {
        let made = self.made();
        let life = self.until.duration_since(made).unwrap_or_default();
        made + life * 2 / 3
    }

    /// When a certificate of this module was made; what others have made may be valid from then on only.
    pub fn made(&self) -> SystemTime {
        (self.from + SKEW).min(self.until)
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

/// A time as people write it.
pub fn written(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| "an unknown time".to_owned(), |time| time.to_string())
}

/// The certificates of a PEM text, each by itself; what stands between them is left out.
pub fn certificates(pem: &str) -> Vec<String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    pem.split_inclusive(END)
        .filter(|part| part.ends_with(END))
        .filter_map(|part| part.rfind(BEGIN).map(|at| format!("{}\n", &part[at..])))
        .collect()
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificates, the server's own first.
    pub chain: Vec<u8>,
    /// The private key of the first.
    pub key: Vec<u8>,
}

/// A certificate authority that signs server certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    key_pem: String,
    validity: Validity,
}

/// Without the key.
impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority that is valid for `life` from `now` on.
    pub fn new(now: SystemTime, life: Duration) -> Result<Self, AuthorityError> {
        let mut params = params(Vec::new(), "Lanekeeper self-made CA", now, life)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(AuthorityError::Make)?;
        let certificate = params.self_signed(&key).map_err(AuthorityError::Make)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// The authority of this certificate and its key, both PEM. Of several certificates the first is its own.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, AuthorityError> {
        let unusable = |why: &dyn fmt::Display| AuthorityError::Certificate(why.to_string());
        let pem = certificates(certificate).into_iter().next();
        let pem = pem.ok_or_else(|| unusable(&"there is none in PEM"))?;
        let own = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| unusable(&error))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&own).map_err(|error| unusable(&error))?;
        if !parsed.is_ca() {
            return Err(unusable(&"it may not sign others"));
        }
        let key = KeyPair::from_pem(key).map_err(|error| AuthorityError::Key(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(AuthorityError::Key("it belongs to another one".to_owned()));
        }
        let validity = Validity::of(&own).map_err(|why| unusable(&why))?;
        let key_pem = key.serialize_pem();
        let issuer = Issuer::from_ca_cert_der(&own, key).map_err(|error| unusable(&error))?;
        Ok(Self {
            issuer,
            pem,
            key_pem,
            validity,
        })
    }

    /// The authority's certificate: what a client has to trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The authority's private key. Who has it can be any server to those who trust the authority.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// When the authority's certificate is valid.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Issues a server certificate for this machine and for `names`, valid for `life` from `now` on, and no longer than
    /// the authority.
    pub fn issue(&self, names: &[String], now: SystemTime, life: Duration) -> Result<Pair, AuthorityError> {
        let mut all: Vec<String> = LOCAL_NAMES.into_iter().map(str::to_owned).collect();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let left = self.validity.until.duration_since(now).unwrap_or_default();
        let mut params = params(all, "lanekeeper", now, life.min(left))?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(AuthorityError::Make)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(AuthorityError::Make)?;
        Ok(Pair {
            chain: certificate.pem().into_bytes(),
            key: key.serialize_pem().into_bytes(),
        })
    }
}

fn params(
    names: Vec<String>,
    common_name: &str,
    now: SystemTime,
    life: Duration,
) -> Result<CertificateParams, AuthorityError> {
    let mut params = CertificateParams::new(names).map_err(AuthorityError::Make)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(SKEW);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch + life;
    Ok(params)
}

/// An authority that several servers share, and that another one follows in time.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The one that signs now.
    pub authority: Arc<Authority>,
    /// Why clients will not take what it signs, as far as is known.
    pub distrust: Option<String>,
}

#[cfg(test)]
mod tests {
    use rustls::client::danger::ServerCertVerifier as _;

    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    /// A time in whole seconds, as certificates have it.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    fn leaf(pair: &Pair) -> Validity {
        Validity::of(&CertificateDer::from_pem_slice(&pair.chain).unwrap()).unwrap()
    }

    #[test]
    fn an_authority_is_the_same_one_when_it_is_read_again() {
        let made = Authority::new(now(), DAY).unwrap();
        let read = Authority::from_pem(made.pem(), made.key_pem()).unwrap();
        assert_eq!(
            (made.pem(), made.key_pem(), made.validity()),
            (read.pem(), read.key_pem(), read.validity())
        );
        let roots = {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_slice(made.pem().as_bytes()).unwrap())
                .unwrap();
            roots
        };
        let pair = read.issue(&["a.b.svc".to_owned()], now(), DAY).unwrap();
        let leaf = CertificateDer::from_pem_slice(&pair.chain).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let name = rustls::pki_types::ServerName::try_from("a.b.svc").unwrap();
        let at = rustls::pki_types::UnixTime::since_unix_epoch(now().duration_since(UNIX_EPOCH).unwrap());
        verifier.verify_server_cert(&leaf, &[], &name, &[], at).unwrap();
    }

    #[test]
    fn each_certificate_of_a_text_is_found() {
        let one = "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n";
        let text = format!("# a comment\n{one}\n{one}-----BEGIN CERTIFICATE-----\nhalf");
        assert_eq!(certificates(&text), [one, one]);
        assert!(certificates("").is_empty());
    }

    #[test]
    fn what_is_no_authority_is_not_taken_for_one() {
        let one = Authority::new(now(), DAY).unwrap();
        let other = Authority::new(now(), DAY).unwrap();
        let server = one.issue(&[], now(), DAY).unwrap();
        let server = (
            String::from_utf8(server.chain).unwrap(),
            String::from_utf8(server.key).unwrap(),
        );
        let told =
            |certificate: &str, key: &str| Authority::from_pem(certificate, key).unwrap_err().to_string();
        assert!(told(one.pem(), other.key_pem()).contains("belongs to another"));
        assert!(told(&server.0, &server.1).contains("may not sign"));
        assert!(told("", one.key_pem()).contains("certificate"));
        assert!(told(one.pem(), "none").contains("key"));
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_and_never_outlives_its_authority() {
        let authority = Authority::new(now(), DAY).unwrap();
        let validity = leaf(&authority.issue(&[], now(), DAY / 2).unwrap());
        assert_eq!(validity.until, now() + DAY / 2);
        assert_eq!(validity.made(), now());
        assert_eq!(validity.renewal(), now() + DAY / 3);
        let late = leaf(&authority.issue(&[], now() + DAY * 3 / 4, DAY).unwrap());
        assert_eq!(late.until, now() + DAY);
        assert_eq!(authority.validity().renewal(), now() + DAY * 2 / 3);
    }
}
