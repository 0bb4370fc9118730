//! What the VMs of one proxy share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a VM is made to meet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// As many conditional writes as this find another version there.
    Mismatches(u32),
    /// Every call answers with this status and does nothing.
    Status(u32),
}

/// What is done before a write, as another worker would do it between this one's read and its write.
type Between = Box<dyn FnOnce() + Send>;

/// A proxy: the shared table, the counters, the log and the clock of its VMs.
#[derive(Clone, Default)]
pub struct Proxy(Arc<Mutex<Shared>>);

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Shared {
    table: BTreeMap<Vec<u8>, (Vec<u8>, u32)>,
    last_version: u32,
    names: Vec<String>,
    counters: BTreeMap<String, u64>,
    log: Vec<String>,
    seconds: u64,
    fault: Fault,
    between: Option<Between>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    Mismatch,
}

impl Proxy {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A counter's value, by the name that the filter gives it.
    pub fn counter(&self, name: &str) -> u64 {
        self.shared().counters.get(name).copied().unwrap_or_default()
    }

    /// The lines of the log.
    pub fn log(&self) -> Vec<String> {
        self.shared().log.clone()
    }

    /// The shared table, without versions.
    pub fn table(&self) -> BTreeMap<String, Vec<u8>> {
        let shared = self.shared();
        let rows = shared.table.iter();
        rows.map(|(key, (value, _))| (String::from_utf8_lossy(key).into_owned(), value.clone()))
            .collect()
    }

    /// Writes a value as another plugin could.
    pub fn overwrite(&self, key: &str, value: &[u8]) {
        self.write(key.as_bytes(), value, 0);
    }

    /// Sets the clock, in seconds since 1970.
    pub fn set_clock(&self, seconds: u64) {
        self.shared().seconds = seconds;
    }

    /// What the VMs meet from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.shared().fault = fault;
    }

    /// Does `what` before the next write to the table.
    pub fn between_read_and_write(&self, what: impl FnOnce() + Send + 'static) {
        self.shared().between = Some(Box::new(what));
    }

    pub(crate) fn fault(&self) -> Fault {
        self.shared().fault
    }

    pub(crate) fn nanoseconds(&self) -> u64 {
        self.shared().seconds * 1_000_000_000
    }

    pub(crate) fn write_log(&self, line: String) {
        self.shared().log.push(line);
    }

    pub(crate) fn read(&self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        self.shared().table.get(key).cloned()
    }

    pub(crate) fn write(&self, key: &[u8], value: &[u8], version: u32) -> Written {
        let between = self.shared().between.take();
        if let Some(between) = between {
            between();
        }
        let mut shared = self.shared();
        if let Fault::Mismatches(left @ 1..) = shared.fault
            && version != 0
        {
            shared.fault = Fault::Mismatches(left - 1);
            return Written::Mismatch;
        }
        let known = shared.table.get(key).map(|(_, version)| *version);
        if version != 0 && known.is_some_and(|known| known != version) {
            return Written::Mismatch;
        }
        shared.last_version += 1;
        let row = (value.to_vec(), shared.last_version);
        shared.table.insert(key.to_vec(), row);
        Written::Done
    }

    /// A counter's id, the same for one name in all VMs.
    pub(crate) fn define_counter(&self, name: &str) -> u32 {
        let mut shared = self.shared();
        let at = shared.names.iter().position(|known| known == name);
        let at = at.unwrap_or_else(|| {
            shared.names.push(name.to_owned());
            shared.names.len() - 1
        });
        // Ids start above zero, as Envoy's do.
        u32::try_from(at + 1).expect("few counters")
    }

    pub(crate) fn increment(&self, id: u32, by: i64) -> bool {
        let mut shared = self.shared();
        let at = usize::try_from(id).expect("fits").checked_sub(1);
        let Some(name) = at.and_then(|at| shared.names.get(at)).cloned() else {
            return false;
        };
        *shared.counters.entry(name).or_default() += u64::try_from(by).expect("counters only grow");
        true
    }
}
