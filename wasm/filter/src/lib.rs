//! The lane filter: an Envoy Wasm module (proxy-wasm ABI 0.2.1) that gives the requests which an application sends the
//! lane of the request that it is answering.
//!
//! ```text
//!            ┌────────────────────────── sidecar ──────────────────────────┐
//!  bu: wicph │ inbound: trace id ─▶ lane into the store      app ◀──────── │ bu: wicph
//!  ─────────▶│                              │             ┌─▶ │            │
//!            │                              ▼             │   ▼            │
//!  ◀─────────│ outbound: bu: wicph ◀─ lane of its trace id ◀─ no bu        │
//!            └─────────────────────────────────────────────────────────────┘
//! ```
//!
//! It reads and writes request headers in the request-headers phase only, never pauses a request and never touches a
//! body. The bindings to the host are its own (`host`): an SDK would cost some 4 µs a request, and panics on statuses
//! that it does not expect; here nothing does.

#![allow(unreachable_pub, reason = "the host calls the exported functions")]

mod filter;
mod host;
mod metrics;
mod shared;

use std::cell::RefCell;

use filter::Filter;

thread_local! {
    /// Each VM has one thread, and so one of these.
    static FILTER: RefCell<Filter> = RefCell::default();
}

/// Calls `what` with the VM's state. The host never calls in again before a callback has returned, but for memory.
fn with<T: Default>(what: impl FnOnce(&mut Filter) -> T) -> T {
    FILTER.with(|filter| {
        filter
            .try_borrow_mut()
            .map_or_else(|_| T::default(), |mut filter| what(&mut filter))
    })
}

/// What the host may do with a request: go on with it.
const CONTINUE: u32 = 0;

/// Tells the host which ABI this is.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_abi_version_0_2_1() {}

/// A context begins: a plugin's own (`parent` is 0), or a request's under its plugin's.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
    with(|filter| filter.created(context, parent));
}

/// A plugin is configured; 0 refuses the configuration.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_configure(plugin: u32, _size: u32) -> u32 {
    u32::from(with(|filter| filter.configure(plugin)))
}

/// A request's headers are there.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_request_headers(stream: u32, _count: u32, _end_of_stream: u32) -> u32 {
    with(|filter| filter.request(stream));
    CONTINUE
}

/// A context ends, the one of a request when its stream has ended in whatever way.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_delete(context: u32) {
    with(|filter| filter.deleted(context));
}
