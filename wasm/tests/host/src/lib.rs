//! A proxy-wasm host (ABI 0.2.1), as far as the lane filter calls it, on the interpreter wasmi.
//!
//! Envoy decides by itself which worker gets a request, when two of them meet at one bucket and when a VM is started
//! anew. Here the test decides. What the calls do is what Envoy's do (`proxy-wasm-cpp-host`): one table and one set of
//! counters for all VMs of a [`Proxy`], versions that only grow, a conditional write that is refused if the version is
//! another one and ignored as a condition if the key is new.

mod abi;
mod proxy;
mod vm;

pub use proxy::{Fault, Proxy};
pub use vm::{Filter, Request, Traffic, Vm};
