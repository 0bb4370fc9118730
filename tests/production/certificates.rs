//! Where the replicas' certificates come from.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// Where the replicas' certificates come from.
pub(crate) enum Certificates {
    /// A Secret that is mounted, in which another pair is put now and then.
    Mounted(Box<Mounted>),
    /// An authority in a Secret that the replicas share and keep themselves. All lives are short.
    Shared,
}

impl Certificates {
    /// What a replica is told of them.
    pub(crate) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Mounted(mounted) => vec![format!("--tls-cert-dir={}", mounted.folder.display())],
            Self::Shared => vec![
                "--ca-secret=lanekeeper-ca".to_owned(),
                format!("--ca-life={}", crate::long_or("120s", "60s")),
                format!("--leaf-life={}", crate::long_or("30s", "9s")),
            ],
        }
    }

    /// What clients have to trust, as PEM, if it is not for the replicas to tell.
    pub(crate) fn authority(&self) -> Option<String> {
        match self {
            Self::Mounted(mounted) => Some(mounted.authority.pem()),
            Self::Shared => None,
        }
    }

    /// Has another pair take the place of the one that is served, if it does not do so by itself.
    pub(crate) fn rotate(&mut self) {
        match self {
            Self::Mounted(mounted) => mounted.rotate(),
            Self::Shared => {}
        }
    }
}

/// An authority, and a folder with a pair that it has signed.
///
/// The folder is laid out as the kubelet does it: `tls.crt` and `tls.key` lead through `..data` to a folder with a
/// name of its own, and a new pair comes by one `rename` of `..data`.
pub(crate) struct Mounted {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    rotations: u32,
}

impl Mounted {
    /// Makes the authority and the first pair.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut mounted = Self {
            authority: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: folder.to_owned(),
            rotations: 0,
        };
        fs::create_dir(folder).unwrap();
        mounted.rotate();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        mounted
    }

    /// Puts a new pair in the place of the old one.
    fn rotate(&mut self) {
        let names = ["localhost", "127.0.0.1", "lanekeeper.lanekeeper-system.svc"];
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(names.map(str::to_owned))
            .unwrap()
            .signed_by(&key, &self.authority)
            .unwrap();
        let old = format!("..{}", self.rotations);
        self.rotations += 1;
        let new = format!("..{}", self.rotations);
        fs::create_dir(self.folder.join(&new)).unwrap();
        fs::write(self.folder.join(&new).join("tls.crt"), certificate.pem()).unwrap();
        fs::write(self.folder.join(&new).join("tls.key"), key.serialize_pem()).unwrap();
        let swap = self.folder.join("..data_tmp");
        symlink(&new, &swap).unwrap();
        fs::rename(&swap, self.folder.join("..data")).unwrap();
        fs::remove_dir_all(self.folder.join(old)).ok();
    }
}
