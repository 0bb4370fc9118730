//! The requests to try a set with.

use std::fmt;

use super::{CARS, Dice, LANES, Made, SERVICES};
use crate::application::ALONE;
use crate::client::Call;

/// A request, and who sends it.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Who sends it.
    pub from: Sender,
    /// The request.
    pub call: Call,
    /// The port that is called.
    pub port: u32,
}

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sender {
    /// Somebody outside, through the gateway.
    Outside,
    /// The application of a Deployment.
    Workload(String),
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Sender::Outside => f.write_str("outside: ")?,
            Sender::Workload(name) => write!(f, "{name}: ")?,
        }
        let version = if self.call.http2 { " by HTTP/2" } else { "" };
        write!(f, "{} {}{version}", self.call.method, self.call.url)?;
        for (name, value) in &self.call.headers {
            write!(f, ", {name}: {value}")?;
        }
        Ok(())
    }
}

/// What callers of each lane send over each hop, and some that nobody thought of.
pub(super) fn of(dice: &mut Dice, made: Made) -> Vec<Ask> {
    let lanes = [None, Some(LANES[0]), Some(LANES[1])];
    let mut asks = Vec::new();
    for lane in lanes {
        asks.push(outside(Call::get("http://cars.example/"), lane));
        for (at, service) in SERVICES.iter().enumerate().skip(1) {
            for port in service.ports {
                let caller = format!("{}-{}", SERVICES[at - 1].name, dice.one(&LANES));
                let call = Call::get(&format!("http://{}:{port}/", service.name));
                let call = if *port == 20885 { call.http2() } else { call };
                asks.push(inside(caller, call, lane, *port));
            }
        }
    }
    // Some sets have routes of their own for a path.
    for lane in LANES {
        let caller = format!("{}-{lane}", SERVICES[0].name);
        let call = Call::get(&format!("http://{}:8080/a", SERVICES[1].name));
        asks.push(inside(caller, call, Some(lane), 8080));
    }
    let more = if made == Made::Wild { 14 } else { 5 };
    asks.extend((0..more).map(|_| any(dice)));
    for ask in &mut asks {
        ask.call.headers.push((ALONE.to_owned(), "yes".to_owned()));
    }
    asks
}

fn outside(call: Call, lane: Option<&str>) -> Ask {
    Ask {
        from: Sender::Outside,
        call: lane
            .into_iter()
            .fold(call, |call, lane| call.header("buid", lane)),
        port: 80,
    }
}

fn inside(caller: String, call: Call, lane: Option<&str>, port: u32) -> Ask {
    Ask {
        from: Sender::Workload(caller),
        call: lane.into_iter().fold(call, |call, lane| call.header("bu", lane)),
        port,
    }
}

/// The paths that requests have and conditions ask for.
const PATHS: [&str; 10] = [
    "/",
    "/a",
    "/a/b",
    "/A/c",
    "/ab",
    "/b",
    "/a?lane=wicph",
    "/?lane=wtchk&x=1",
    "/static/x.css",
    "/a/?x",
];

/// A request of any kind.
fn any(dice: &mut Dice) -> Ask {
    let path = dice.one(&PATHS);
    let is_outside = dice.chance(40);
    let (from, host, port) = if is_outside {
        let host = dice.one(&[
            "cars.example",
            "cars.example",
            "Cars.Example",
            "shop.cars.example",
            "other.example",
        ]);
        (Sender::Outside, host.to_owned(), 80)
    } else {
        let caller = dice.one(&SERVICES);
        let service = dice.one(&SERVICES);
        let written = match dice.below(5) {
            0 => service.full(),
            1 => format!("{}.{CARS}", service.name),
            2 => format!("{}.{CARS}.svc", service.name),
            _ => service.name.to_owned(),
        };
        let caller = format!("{}-{}", caller.name, dice.one(&LANES));
        (Sender::Workload(caller), written, dice.one(service.ports))
    };
    let authority = if port == 80 {
        host
    } else {
        format!("{host}:{port}")
    };
    let mut call = Call::get(&format!("http://{authority}{path}"));
    dice.one(&["GET", "GET", "POST", "PUT"])
        .clone_into(&mut call.method);
    for _ in 0..dice.below(4) {
        let (name, value) = header(dice);
        call = call.header(name, value);
    }
    if dice.chance(30) {
        call = call.http2();
        if dice.chance(50) {
            "POST".clone_into(&mut call.method);
            call = call.header("content-type", "application/grpc");
        }
    }
    Ask { from, call, port }
}

/// A header with a value.
fn header(dice: &mut Dice) -> (&'static str, &'static str) {
    let name = dice.one(&["bu", "bu", "buid", "buid", "x-lane", "x-mark", "BU"]);
    let value = dice.one(&["wicph", "wicph", "wtchk", "wtchk", "wtcph", "wi", "v1", ""]);
    (name, value)
}

impl Ask {
    /// What it says of lanes, in the header by which callers of its place name them.
    pub fn lanes(&self) -> Vec<&str> {
        let header = if self.from == Sender::Outside {
            "buid"
        } else {
            "bu"
        };
        let headers = self.call.headers.iter();
        let named = headers.filter(|(name, _)| name.eq_ignore_ascii_case(header));
        named.map(|(_, value)| value.as_str()).collect()
    }
}
