//! What the Secret holds, and what follows it in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::ObjectMeta;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{AGAIN, SharedAuthorityConfig};
use crate::authority::{Authority, AuthorityError, Validity, certificates};

/// The label of a Secret that Lanekeeper has made, and so may make anew.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "lanekeeper");

/// How many authorities are trusted beside the one that signs.
const OTHERS: usize = 8;

/// What the Secret holds.
pub(super) struct Kept {
    pub(super) authority: Arc<Authority>,
    /// All certificates that are to be trusted, in PEM, the authority's own first.
    pub(super) trusted: Vec<String>,
    /// Whether Lanekeeper has made it.
    is_ours: bool,
}

impl Kept {
    /// A new authority, which is trusted beside `others`: also beside those that are out of their time by this clock, which
    /// may be the one that is wrong.
    pub(super) fn new(now: SystemTime, life: Duration, others: &[String]) -> Result<Self, AuthorityError> {
        let authority = Authority::new(now, life)?;
        let others = others
            .iter()
            .filter(|other| is_certificate(other))
            .take(OTHERS)
            .cloned();
        Ok(Self {
            trusted: [authority.pem().to_owned()].into_iter().chain(others).collect(),
            authority: Arc::new(authority),
            is_ours: true,
        })
    }

    /// What a Secret holds; `Err` says why it is of no use.
    pub(super) fn read(secret: &Secret) -> Result<Self, String> {
        let text = |key: &str| {
            let data = secret.data.as_ref().and_then(|data| data.get(key));
            let data = data.ok_or_else(|| format!("it has no {key}"))?;
            String::from_utf8(data.0.clone()).map_err(|_| format!("its {key} is not PEM"))
        };
        let authority =
            Authority::from_pem(&text("tls.crt")?, &text("tls.key")?).map_err(|error| error.to_string())?;
        let others = text("ca.crt").map_or_else(|_| Vec::new(), |bundle| certificates(&bundle));
        let others = others.into_iter().filter(|other| other != authority.pem());
        Ok(Self {
            trusted: [authority.pem().to_owned()].into_iter().chain(others).collect(),
            authority: Arc::new(authority),
            is_ours: is_ours(secret),
        })
    }

    /// What has to take its place at `now`.
    pub(super) fn follower(
        &self,
        now: SystemTime,
        config: &SharedAuthorityConfig,
    ) -> Result<Option<Self>, AuthorityError> {
        let validity = self.authority.validity();
        if !self.is_ours {
            return Ok(None);
        }
        if now >= validity.renewal() || validity.problem(now).is_some() {
            return Self::new(now, config.authority_life, &self.trusted).map(Some);
        }
        // By then no certificate of the one before is valid: none was made once this one was trusted.
        let alone = validity.made() + config.leaf_life + config.settle() + AGAIN;
        if self.trusted.len() > 1 && now >= alone {
            return Ok(Some(Self {
                authority: Arc::clone(&self.authority),
                trusted: vec![self.authority.pem().to_owned()],
                is_ours: true,
            }));
        }
        Ok(None)
    }

    /// The Secret that holds it, in the place of one that is there.
    pub(super) fn write(&self, name: &str, there: Option<Secret>) -> Secret {
        let mut secret = there.unwrap_or_else(|| Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        });
        let labels = secret.metadata.labels.get_or_insert_default();
        labels.insert("app.kubernetes.io/name".to_owned(), "lanekeeper".to_owned());
        labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
        let data = [
            ("tls.crt", self.authority.pem().to_owned()),
            ("tls.key", self.authority.key_pem().to_owned()),
            ("ca.crt", self.trusted.concat()),
        ];
        let data = data.map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes())));
        secret.data = Some(data.into());
        secret
    }
}

pub(super) fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY.0))
        .map(String::as_str)
        == Some(MANAGED_BY.1)
}

fn is_certificate(pem: &str) -> bool {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
    certificate.is_ok_and(|certificate| Validity::of(&certificate).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn config() -> SharedAuthorityConfig {
        SharedAuthorityConfig {
            namespace: "system".to_owned(),
            secret: "ca".to_owned(),
            service: "lanekeeper".to_owned(),
            webhooks: "lanekeeper".to_owned(),
            authority_life: DAY * 300,
            leaf_life: DAY,
        }
    }

    /// A time in whole seconds, as certificates have it.
    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let first = Kept::new(start(), DAY, &[]).unwrap();
        let others = [first.authority.pem().to_owned(), "no certificate".to_owned()];
        let second = Kept::new(start(), DAY, &others).unwrap();
        let read = Kept::read(&second.write("ca", None)).unwrap();
        assert_eq!(read.authority.pem(), second.authority.pem());
        assert_eq!(read.trusted, [second.authority.pem(), first.authority.pem()]);
        assert!(read.is_ours);
        assert!(Kept::read(&Secret::default()).is_err());
    }

    #[test]
    fn another_one_follows_in_time_and_the_one_before_goes_when_nothing_by_it_is_valid() {
        let config = config();
        let follower = |kept: &Kept, days: u32| kept.follower(start() + DAY * days, &config).unwrap();
        let first = Kept::new(start(), config.authority_life, &[]).unwrap();
        assert!(follower(&first, 199).is_none());
        let second = follower(&first, 200).unwrap();
        assert_eq!(second.trusted, [second.authority.pem(), first.authority.pem()]);
        assert!(follower(&second, 201).is_none());
        let alone = follower(&second, 202).unwrap();
        assert_eq!(alone.trusted, [second.authority.pem()]);
        assert_eq!(alone.authority.pem(), second.authority.pem());
        assert!(follower(&alone, 203).is_none());
    }

    #[test]
    fn one_that_is_out_of_its_time_is_followed_at_once_and_still_trusted() {
        let config = config();
        let first = Kept::new(start(), config.authority_life, &[]).unwrap();
        // Whoever looks a day before it was made has another clock than who made it.
        for now in [start() + DAY * 400, start() - DAY] {
            let second = first.follower(now, &config).unwrap().unwrap();
            assert_eq!(second.trusted.len(), 2);
            assert!(second.authority.validity().problem(now).is_none());
        }
    }

    #[test]
    fn one_that_others_have_put_there_is_left_alone() {
        let mut kept = Kept::new(start(), DAY, &[]).unwrap();
        kept.is_ours = false;
        assert!(kept.follower(start() + DAY * 2, &config()).unwrap().is_none());
    }
}
