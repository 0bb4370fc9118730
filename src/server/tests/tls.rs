//! Certificates: read again, made here, and asked of clients.

use std::{
    os::unix::fs::symlink,
    time::{Duration, SystemTime},
};

use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::authority::{Authority, Pair, Shared};
use crate::server::{certificates::Refresh, serve::serve_app};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The files of an authority's certificate for this machine, in a directory.
fn issue(authority: &Authority, directory: &Path, now: SystemTime) {
    let pair = issued(authority, now);
    write_pair(directory, &pair.chain, &pair.key);
}

fn issued(authority: &Authority, now: SystemTime) -> Pair {
    authority.issue(&[], now, DAY * 90).unwrap()
}

fn authority_of(now: SystemTime) -> Authority {
    Authority::new(now, DAY * 3650).unwrap()
}

fn load(directory: &Path, errors: &Counter) -> Result<Certificates, CertificateError> {
    let source = CertificateSource::Directory(directory.to_owned());
    Certificates::load(source, None, errors.clone(), SystemTime::now())
}

/// Whether a client that trusts `authority` gets an answer.
async fn is_trusted(served: &Served, authority: &Authority) -> bool {
    served
        .connect(&Client::new(authority.pem().as_bytes()))
        .await
        .is_ok()
}

#[tokio::test]
async fn a_self_made_certificate_is_for_this_machine_and_the_given_names() {
    let (mut config, _directory) = config();
    config.certificates =
        CertificateSource::SelfMade(vec!["lanekeeper.lanes.svc".to_owned(), "::1".to_owned()]);
    let running = serve(config, Puppet::new()).await.unwrap();
    let client = Client::new(running.ca_pem().unwrap().as_bytes());
    for (name, trusted) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("lanekeeper.lanes.svc", true),
        ("other.lanes.svc", false),
        ("127.0.0.2", false),
    ] {
        let stream = TcpStream::connect(running.local_addrs().webhook).await.unwrap();
        let connector = TlsConnector::from(Arc::new(client.config.clone()));
        let connected = connector
            .connect(ServerName::try_from(name).unwrap(), stream)
            .await;
        assert_eq!(connected.is_ok(), trusted, "{name}: {connected:?}");
    }
}

#[tokio::test]
async fn old_tls_is_refused() {
    let served = Served::new().await;
    let mut stream = TcpStream::connect(served.running.local_addrs().webhook)
        .await
        .unwrap();
    // A ClientHello of TLS 1.1 with one cipher suite and one signature algorithm.
    let mut hello = vec![0x16, 3, 1, 0, 55, 1, 0, 0, 51, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2f, 1, 0, 0, 8, 0, 13, 0, 4, 0, 2, 4, 3]);
    stream.write_all(&hello).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    // A fatal alert: protocol_version.
    assert_eq!((answer.first(), &answer[5..]), (Some(&0x15), &[2, 70][..]));
}

/// A directory as the kubelet mounts a Secret: files are symlinks through `..data`, which is swapped.
struct Mount {
    directory: TempDir,
    generation: usize,
}

impl Mount {
    fn new(authority: &Authority) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), directory.path().join(file)).unwrap();
        }
        let mut mount = Self {
            directory,
            generation: 0,
        };
        mount.swap(|new| issue(authority, new, SystemTime::now()));
        mount
    }

    /// Puts what `write` writes in the place of what is there.
    fn swap(&mut self, write: impl FnOnce(&Path)) {
        self.generation += 1;
        let at = |name: String| self.directory.path().join(name);
        let new = format!("..2026_{}", self.generation);
        std::fs::create_dir(at(new.clone())).unwrap();
        write(&at(new.clone()));
        symlink(new, at("..data_tmp".to_owned())).unwrap();
        std::fs::rename(at("..data_tmp".to_owned()), at("..data".to_owned())).unwrap();
        let _ = std::fs::remove_dir_all(at(format!("..2026_{}", self.generation - 1)));
    }

    /// A server with this certificate, which looks for another one this often.
    async fn serve(&self, every: Duration) -> Served {
        let (mut config, directory) = config();
        config.certificates = CertificateSource::Directory(self.directory.path().to_owned());
        let mut app = App::new(config, Puppet::new()).unwrap();
        app.certificates_every = every;
        let puppet = app.judge.clone();
        let running = serve_app(Arc::new(app)).await.unwrap();
        Served {
            running,
            puppet,
            directory,
        }
    }
}

/// How often a certificate could not be used, by the metrics.
async fn certificate_errors(served: &Served) -> u64 {
    let page = served.admin("/metrics").await.body;
    let mut counts = page
        .lines()
        .filter_map(|line| line.strip_prefix("lanekeeper_certificate_errors_total "));
    counts.next().unwrap().parse().unwrap()
}

const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::test]
async fn a_new_pair_is_served_after_the_symlink_swap_of_a_secret() {
    let authority = || authority_of(SystemTime::now());
    // Once found by looking now and then, and once by being told.
    for every in [Duration::from_millis(1), NEVER] {
        let (old, new) = (authority(), authority());
        let mut mount = Mount::new(&old);
        let served = mount.serve(every).await;
        assert_eq!(served.running.ca_pem(), None);
        assert!(is_trusted(&served, &old).await && !is_trusted(&served, &new).await);
        let mut kept = Http1::over(served.connect(&Client::new(old.pem().as_bytes())).await.unwrap()).await;

        mount.swap(|directory| issue(&new, directory, SystemTime::now()));
        eventually(async || is_trusted(&served, &new).await).await;

        assert!(!is_trusted(&served, &old).await);
        // A connection that was there stays.
        assert_eq!(
            kept.send(post("/mutate/enforce", "review")).await.unwrap().status,
            200
        );
    }
}

#[tokio::test]
async fn a_bad_pair_that_is_swapped_in_is_told_at_once_and_the_next_good_one_is_taken() {
    let authority = authority_of(SystemTime::now());
    let other = authority_of(SystemTime::now());
    let mut mount = Mount::new(&authority);
    let served = mount.serve(NEVER).await;

    mount.swap(|directory| write_pair(directory, b"no certificate", b"no key"));
    eventually(async || certificate_errors(&served).await > 0).await;
    assert!(is_trusted(&served, &authority).await);

    mount.swap(|directory| issue(&other, directory, SystemTime::now()));
    eventually(async || is_trusted(&served, &other).await).await;
}

#[tokio::test]
async fn a_directory_that_is_removed_keeps_the_pair_and_one_of_its_name_is_taken_up() {
    let authority = authority_of(SystemTime::now());
    let other = authority_of(SystemTime::now());
    let mount = Mount::new(&authority);
    let served = mount.serve(Duration::from_millis(20)).await;
    let path = mount.directory.path().to_owned();

    std::fs::remove_dir_all(&path).unwrap();
    eventually(async || certificate_errors(&served).await > 0).await;
    assert!(is_trusted(&served, &authority).await);
    assert_eq!(served.admin("/readyz").await.status, 200);

    std::fs::create_dir(&path).unwrap();
    issue(&other, &path, SystemTime::now());
    eventually(async || is_trusted(&served, &other).await).await;
}

#[tokio::test]
async fn a_new_client_authority_is_taken_up_at_once() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("client-ca.pem");
    std::fs::write(&file, client_authority().pem()).unwrap();
    let (mut config, directory) = config();
    config.client_ca = Some(file.clone());
    let mut app = App::new(config, Puppet::new()).unwrap();
    app.certificates_every = NEVER;
    let app = Arc::new(app);
    let running = serve_app(app.clone()).await.unwrap();
    // The first may be found by the look that follows the start.
    for name in ["first", "second"] {
        let in_use = app.certificates.tls().get_inner();
        // Written beside it and moved into its place.
        let new = files.path().join(name);
        std::fs::write(&new, client_authority().pem()).unwrap();
        std::fs::rename(&new, &file).unwrap();
        eventually(async || !Arc::ptr_eq(&app.certificates.tls().get_inner(), &in_use)).await;
    }
    drop((running, directory));
}

#[test]
fn how_long_a_certificate_is_still_valid_is_told_and_for_how_long_it_has_not_been() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = authority_of(now);
    issue(&authority, directory.path(), now);
    let certificates = load(directory.path(), &Counter::default()).unwrap();
    let left = certificates.seconds_left(now);
    assert!((89 * 86_400..=91 * 86_400).contains(&left), "{left}");
    let later = now + Duration::from_secs(left.unsigned_abs()) + DAY;
    let past = -certificates.seconds_left(later);
    assert!((86_399..=86_401).contains(&past), "{past}");
    // Of a file all counts that stands in it.
    let life = certificates.seconds_of_life();
    assert!(
        (left..=left + 2 * 3_600).contains(&life),
        "{life}, and {left} are left"
    );
}

#[tokio::test]
async fn the_metrics_tell_how_long_the_certificate_is_still_valid() {
    let page = Served::new().await.admin("/metrics").await.body;
    let seconds = |name: &str| -> i64 {
        let name = format!("lanekeeper_certificate_{name}_seconds ");
        let mut found = page.lines().filter_map(|line| line.strip_prefix(&name));
        found.next().unwrap().parse().unwrap()
    };
    let (left, life) = (seconds("expiry"), seconds("life"));
    assert!((89 * 86_400..=91 * 86_400).contains(&left), "{left}");
    // Without the hour for clocks that are behind.
    assert!((left..left + 60).contains(&life), "{life}, and {left} are left");
}

#[test]
fn a_bad_new_pair_keeps_the_one_before_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let errors = Counter::default();
    let now = SystemTime::now();
    let authority = authority_of(now);
    issue(&authority, directory, now);
    let certificates = load(directory, &errors).unwrap();
    let good = (
        std::fs::read(directory.join("tls.crt")).unwrap(),
        std::fs::read(directory.join("tls.key")).unwrap(),
    );
    let in_use = certificates.tls().get_inner();

    let other = issued(&authority, now);
    let expired = issued(&authority, now - DAY * 100);
    let future = issued(&authority, now + DAY);
    let bad = [
        (&other.chain[..], &good.1[..]),
        (&good.0, &other.key),
        (b"", &good.1),
        (
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &good.1,
        ),
        (&good.0, b"no key"),
        (&good.0[..good.0.len() / 2], &good.1),
        (&expired.chain, &expired.key),
        (&future.chain, &future.key),
    ];
    for (count, (chain, key)) in bad.into_iter().enumerate() {
        write_pair(directory, chain, key);
        assert_eq!(certificates.refresh(now), Refresh::Failed, "{count}");
        assert_eq!(errors.get(), count as u64 + 1);
        assert!(Arc::ptr_eq(&certificates.tls().get_inner(), &in_use));
        assert_eq!(certificates.problem(now), None);
    }
    std::fs::remove_file(directory.join("tls.key")).unwrap();
    assert_eq!(certificates.refresh(now), Refresh::Failed);

    write_pair(directory, &good.0, &good.1);
    assert_eq!(certificates.refresh(now), Refresh::Unchanged);
    write_pair(directory, &other.chain, &other.key);
    assert_eq!(certificates.refresh(now), Refresh::Replaced);
    assert!(!Arc::ptr_eq(&certificates.tls().get_inner(), &in_use));
}

#[test]
fn an_expired_certificate_is_replaced_by_whatever_comes() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = authority_of(now - DAY * 200);
    issue(&authority, directory.path(), now - DAY * 100);
    let certificates = load(directory.path(), &Counter::default()).unwrap();
    assert!(certificates.problem(now).unwrap().contains("expired"));

    issue(&authority, directory.path(), now - DAY * 95);
    assert_eq!(certificates.refresh(now), Refresh::Replaced);
    issue(&authority, directory.path(), now);
    assert_eq!(certificates.refresh(now), Refresh::Replaced);
    assert_eq!(certificates.problem(now), None);
}

#[test]
fn a_self_made_certificate_is_renewed_in_time() {
    let now = SystemTime::now();
    let source = CertificateSource::SelfMade(Vec::new());
    let certificates = Certificates::load(source, None, Counter::default(), now).unwrap();
    let ca_pem = certificates.ca_pem().unwrap().to_owned();

    assert_eq!(certificates.refresh(now + DAY * 59), Refresh::Unchanged);
    assert_eq!(certificates.refresh(now + DAY * 61), Refresh::Replaced);
    assert_eq!(certificates.refresh(now + DAY * 61), Refresh::Unchanged);
    assert_eq!(certificates.problem(now + DAY * 150), None);
    assert_eq!(
        certificates.ca_pem().unwrap(),
        ca_pem,
        "clients go on trusting the same authority"
    );
}

#[test]
fn a_self_made_certificate_of_a_clock_that_was_set_back_is_made_anew() {
    let now = SystemTime::now();
    let source = CertificateSource::SelfMade(Vec::new());
    let certificates = Certificates::load(source, None, Counter::default(), now).unwrap();
    assert_eq!(certificates.refresh(now + DAY * 61), Refresh::Replaced);
    assert!(certificates.problem(now).is_some(), "it is of a later day");
    assert_eq!(certificates.refresh(now), Refresh::Replaced);
    assert_eq!(certificates.problem(now), None);
}

#[tokio::test]
async fn a_shared_authority_is_followed_when_it_is_another_one() {
    let now = SystemTime::now();
    let shared = |authority: &Arc<Authority>| Shared {
        authority: Arc::clone(authority),
        distrust: None,
    };
    let (first, second) = (Arc::new(authority_of(now)), Arc::new(authority_of(now)));
    let (sender, receiver) = tokio::sync::watch::channel(shared(&first));
    let (mut config, directory) = config();
    config.certificates = CertificateSource::Shared {
        names: Vec::new(),
        life: DAY,
        shared: receiver,
    };
    let mut app = App::new(config, Puppet::new()).unwrap();
    // It does not wait for the next look.
    app.certificates_every = DAY;
    let app = Arc::new(app);
    let served = Served {
        running: serve_app(Arc::clone(&app)).await.unwrap(),
        puppet: app.judge.clone(),
        directory,
    };
    assert!(is_trusted(&served, &first).await && !is_trusted(&served, &second).await);

    sender.send_modify(|shared| shared.distrust = Some("nobody trusts it yet".to_owned()));
    let reply = served.admin("/readyz").await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_str()),
        (503, "nobody trusts it yet\n")
    );

    sender.send_replace(shared(&second));
    while !is_trusted(&served, &second).await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_trusted(&served, &first).await);
    assert_eq!(served.admin("/readyz").await.status, 200);
    assert_eq!(app.certificates.refresh(now + DAY / 2), Refresh::Unchanged);
    assert_eq!(app.certificates.refresh(now + DAY * 3 / 4), Refresh::Replaced);
}

#[test]
fn files_that_cannot_be_used_at_the_start_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let errors = Counter::default();
    let message = || load(directory, &errors).err().unwrap().to_string();
    assert!(
        message().contains("tls.crt") && message().contains("as PEM"),
        "{}",
        message()
    );

    let authority = authority_of(SystemTime::now());
    issue(&authority, directory, SystemTime::now());
    std::fs::write(directory.join("tls.key"), "no key").unwrap();
    assert!(
        message().contains("tls.key") && message().contains("private key"),
        "{}",
        message()
    );

    let other = issued(&authority, SystemTime::now());
    std::fs::write(directory.join("tls.key"), other.key).unwrap();
    assert!(
        message().contains("tls.crt") && message().contains("one pair"),
        "{}",
        message()
    );
}

#[tokio::test]
async fn with_a_client_authority_only_its_clients_are_answered() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("client-ca.pem");
    let known = client_authority();
    std::fs::write(&file, known.pem()).unwrap();
    let served = Served::with(|config| config.client_ca = Some(file.clone())).await;
    let ca_pem = served.running.ca_pem().unwrap().to_owned();

    let answered = async |identity: Option<(&[u8], &[u8])>| {
        let client = Client::with_identity(ca_pem.as_bytes(), identity);
        // With TLS 1.3 a client learns with the first answer whether it was taken.
        let Ok(stream) = served.connect(&client).await else {
            return false;
        };
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let sent = async {
            sender.ready().await?;
            sender.send_request(post("/mutate/enforce", "review")).await
        };
        sent.await.is_ok_and(|response| response.status() == 200)
    };
    let (chain, key) = client_certificate(&known);
    assert!(answered(Some((&chain, &key))).await);
    assert!(!answered(None).await);
    let (chain, key) = client_certificate(&client_authority());
    assert!(!answered(Some((&chain, &key))).await);
    assert_eq!(
        served.admin("/healthz").await.status,
        200,
        "the admin listener asks for none"
    );
}

#[test]
fn a_new_client_authority_is_taken_up_too() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("client-ca.pem");
    std::fs::write(&file, client_authority().pem()).unwrap();
    let source = CertificateSource::SelfMade(Vec::new());
    let now = SystemTime::now();
    let load = || Certificates::load(source.clone(), Some(file.clone()), Counter::default(), now);
    let certificates = load().unwrap();

    std::fs::write(&file, client_authority().pem()).unwrap();
    assert_eq!(certificates.refresh(now), Refresh::Replaced);
    std::fs::write(&file, "none").unwrap();
    assert_eq!(certificates.refresh(now), Refresh::Failed);
    let message = load().err().unwrap().to_string();
    assert!(message.contains("client-ca.pem"), "{message}");
}

type ClientAuthority = rcgen::CertifiedIssuer<'static, rcgen::KeyPair>;

fn client_authority() -> ClientAuthority {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap()
}

fn client_certificate(authority: &ClientAuthority) -> (Vec<u8>, Vec<u8>) {
    let mut params = rcgen::CertificateParams::default();
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem().into_bytes(), key.serialize_pem().into_bytes())
}
