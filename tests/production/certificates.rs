//! The server's certificates, as a Secret is mounted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority, and a folder with a pair that it has signed.
///
/// The folder is laid out as the kubelet does it: `tls.crt` and `tls.key` lead through `..data` to a folder with a
/// name of its own, and a new pair comes by one `rename` of `..data`.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    rotations: u32,
}

impl Certificates {
    /// Makes the authority and the first pair.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut certificates = Self {
            authority: CertifiedIssuer::self_signed(params, key).unwrap(),
            folder: folder.to_owned(),
            rotations: 0,
        };
        fs::create_dir(folder).unwrap();
        certificates.rotate();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        certificates
    }

    /// Puts a new pair in the place of the old one.
    pub(crate) fn rotate(&mut self) {
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

    /// What clients have to trust, as PEM.
    pub(crate) fn authority(&self) -> String {
        self.authority.pem()
    }

    /// The certificate of the pair that is there now, as PEM.
    pub(crate) fn current(&self) -> String {
        fs::read_to_string(self.folder.join("tls.crt")).unwrap()
    }
}
