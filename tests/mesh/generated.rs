//! Sets of routes and rules that follow from a number, and the requests to try them with.
//!
//! ```text
//!   seed, number ──▶ Dice ──▶ sound: lanes as they should be, in many ways of writing
//!                        ├──▶ sound, and one fault
//!                        └──▶ wild: whatever Istio takes
//! ```

mod asks;
mod fault;
mod sound;
mod wild;

use std::fmt;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};

pub use asks::{Ask, Sender};

/// The namespace of the services.
pub const CARS: &str = "cars-aswatson-dev";

/// Another namespace, where routes and rules of somebody else are.
pub const ELSEWHERE: &str = "cars-elsewhere";

/// The gateway of all sets.
pub const GATEWAY: &str = "cars-aswatson-dev/cars";

/// The lanes, the default one first.
pub const LANES: [&str; 2] = ["wtchk", "wicph"];

/// The service behind the gateway, the one that it calls, and the one that this calls.
pub const SERVICES: [Service; 3] = [
    Service {
        name: "cars-api-portal",
        ports: &[8181],
    },
    Service {
        name: "cars-rti-adapter",
        ports: &[8080, 20885],
    },
    Service {
        name: "cars-aggregator",
        ports: &[8080, 20885],
    },
];

/// A service of the group.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Its name.
    pub name: &'static str,
    /// Its ports; 20885 is for gRPC.
    pub ports: &'static [u32],
}

impl Service {
    /// The name that is known everywhere.
    pub fn full(self) -> String {
        format!("{}.{CARS}.svc.cluster.local", self.name)
    }
}

/// What is chosen by chance, the same for the same seed and number.
struct Dice(TestRng);

impl Dice {
    fn new(seed: u64, number: u64) -> Self {
        let mut start = [0; 32];
        start[..8].copy_from_slice(&seed.to_le_bytes());
        start[8..16].copy_from_slice(&number.to_le_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, &start))
    }

    /// A number below `limit`, which is small.
    fn below(&mut self, limit: usize) -> usize {
        self.0.next_u32() as usize % limit
    }

    /// Whether a chance of so many percent comes true.
    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// How a set was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It keeps every lane.
    Sound,
    /// It would, but for this.
    Faulty(&'static str),
    /// Anyhow.
    Wild,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sound => f.write_str("sound"),
            Self::Faulty(fault) => write!(f, "sound, but: {fault}"),
            Self::Wild => f.write_str("wild"),
        }
    }
}

/// Some routes and rules.
#[derive(Debug, Clone)]
pub struct Set {
    /// Its number.
    pub number: u64,
    /// How it was made.
    pub made: Made,
    /// What is created first.
    pub older: Vec<Value>,
    /// What is created later.
    pub younger: Vec<Value>,
    /// The requests to try.
    pub asks: Vec<Ask>,
}

impl Set {
    /// The set of a number.
    pub fn new(seed: u64, number: u64) -> Self {
        let mut dice = Dice::new(seed, number);
        // Of five sets one is sound, two have a fault each, and two are wild.
        let (round, turn) = (number / 5, number % 5);
        let (made, older, younger) = match turn {
            0 => {
                let (older, younger) = sound::set(&mut dice);
                (Made::Sound, older, younger)
            }
            1 | 2 => {
                let (mut older, mut younger) = sound::set(&mut dice);
                let fault = fault::put(2 * round + turn - 1, &mut older, &mut younger);
                (Made::Faulty(fault), older, younger)
            }
            _ => {
                let (older, younger) = wild::set(&mut dice);
                (Made::Wild, older, younger)
            }
        };
        let asks = asks::of(&mut dice, made);
        Self {
            number,
            made,
            older,
            younger,
            asks,
        }
    }

    /// Every object.
    pub fn objects(&self) -> impl Iterator<Item = &Value> {
        self.older.iter().chain(&self.younger)
    }
}

/// The set as YAML: each object is a document in one line.
impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# set {}, {}", self.number, self.made)?;
        for object in &self.older {
            writeln!(f, "---\n{object}")?;
        }
        writeln!(f, "# a second later")?;
        for object in &self.younger {
            writeln!(f, "---\n{object}")?;
        }
        Ok(())
    }
}

/// A `VirtualService`.
fn routes(name: &str, namespace: &str, spec: Value) -> Value {
    object("VirtualService", name, namespace, spec)
}

/// A `DestinationRule`.
fn rule(name: &str, namespace: &str, spec: Value) -> Value {
    object("DestinationRule", name, namespace, spec)
}

fn object(kind: &str, name: &str, namespace: &str, spec: Value) -> Value {
    let mut object = json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": name, "namespace": namespace}});
    object["spec"] = spec;
    object
}
