//! A certificate authority of our own, kept in memory.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the authority is valid.
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(10 * 365);

/// How long a server certificate is valid.
const LEAF_LIFE: Duration = DAY.saturating_mul(90);

/// Clocks that are behind by up to this much take a new certificate.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// The names by which a server on this machine is reached.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A certificate chain and its key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) chain: Vec<u8>,
    pub(super) key: Vec<u8>,
}

/// A certificate authority that signs server certificates.
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes an authority that is valid from `now` on.
    pub(super) fn new(now: SystemTime) -> Result<Self, rcgen::Error> {
        let mut params = params(Vec::new(), "Lanekeeper self-made CA", now, AUTHORITY_LIFE)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let pem = issuer.pem();
        Ok(Self { issuer, pem })
    }

    /// The authority's certificate: what a client has to trust.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a server certificate for this machine and for `names`, valid from `now` on.
    pub(super) fn issue(&self, names: &[String], now: SystemTime) -> Result<Pair, rcgen::Error> {
        let mut all: Vec<String> = LOCAL_NAMES.into_iter().map(str::to_owned).collect();
        for name in names {
            if !all.contains(name) {
                all.push(name.clone());
            }
        }
        let mut params = params(all, "lanekeeper", now, LEAF_LIFE)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
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
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(SKEW);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch + life;
    Ok(params)
}
