//! The host's functions, as far as the filter calls them (proxy-wasm ABI 0.2.1), safe to call.
//!
//! Values are bytes: a header need not be UTF-8. A status that is not expected counts as "there is none".

use std::alloc::{Layout, alloc};
use std::ptr;

/// The calls as the host offers them.
mod abi {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            most: usize,
            value: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            value: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            name_size: usize,
            value: *const u8,
            size: usize,
        ) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            value: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, size: usize, metric: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    }
}

const OK: u32 = 0;
const CAS_MISMATCH: u32 = 8;

const REQUEST_HEADERS: u32 = 0;
const PLUGIN_CONFIGURATION: u32 = 7;
const COUNTER: u32 = 0;

/// Gives the host memory for a value that it returns; the filter owns it then, as a vector.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    match Layout::array::<u8>(size) {
        // SAFETY: the layout's size is not zero.
        Ok(layout) if layout.size() > 0 => unsafe { alloc(layout) },
        _ => ptr::null_mut(),
    }
}

/// A value that the host has returned.
struct Returned {
    value: *mut u8,
    size: usize,
}

impl Returned {
    /// Calls `call` with the places for a value's address and size.
    fn of(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
        let mut returned = Self {
            value: ptr::null_mut(),
            size: 0,
        };
        let status = call(&raw mut returned.value, &raw mut returned.size);
        (status == OK).then(|| returned.into_vec())
    }

    fn into_vec(self) -> Vec<u8> {
        if self.value.is_null() {
            return Vec::new();
        }
        // SAFETY: the host has allocated `size` bytes by `proxy_on_memory_allocate`, has filled them, and hands
        // them over.
        unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(self.value, self.size)) }.into_vec()
    }
}

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Warn = 3,
    Error = 4,
}

/// Writes a line to the proxy's log.
pub(crate) fn log(level: Level, text: &str) {
    // SAFETY: the host reads `text` only while it is called.
    unsafe { abi::proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// The time in nanoseconds since 1970; 0 if the host does not tell.
pub(crate) fn nanoseconds() -> u64 {
    let mut time = 0;
    // SAFETY: the host writes a u64 to `time`.
    unsafe { abi::proxy_get_current_time_nanoseconds(&raw mut time) };
    time
}

/// The configuration of the plugin that is being configured.
pub(crate) fn plugin_configuration() -> Vec<u8> {
    let value = Returned::of(|value, size| {
        // SAFETY: the host writes an address and a size to the places given.
        unsafe { abi::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, value, size) }
    });
    value.unwrap_or_default()
}

/// A property, whose path's parts are parted by NUL.
pub(crate) fn property(path: &str) -> Option<Vec<u8>> {
    Returned::of(|value, size| {
        // SAFETY: the host reads `path` only while it is called, and writes an address and a size.
        unsafe { abi::proxy_get_property(path.as_ptr(), path.len(), value, size) }
    })
}

/// The first value of a request header.
pub(crate) fn header(name: &str) -> Option<Vec<u8>> {
    Returned::of(|value, size| {
        // SAFETY: the host reads `name` only while it is called, and writes an address and a size.
        unsafe { abi::proxy_get_header_map_value(REQUEST_HEADERS, name.as_ptr(), name.len(), value, size) }
    })
}

/// Sets a request header, in place of all that it has been. Envoy then chooses the route anew.
pub(crate) fn set_header(name: &str, value: &[u8]) {
    // SAFETY: the host reads `name` and `value` only while it is called.
    unsafe {
        abi::proxy_replace_header_map_value(
            REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// A value of the table that all workers share, and which of its versions it is.
pub(crate) fn shared(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut cas = 0;
    let value = Returned::of(|value, size| {
        // SAFETY: the host reads `key` only while it is called, and writes an address, a size and a version.
        unsafe { abi::proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &raw mut cas) }
    });
    value.map(|value| (value, cas))
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    Done,
    /// Another worker has written in between.
    Outdated,
    Failed,
}

/// Writes a value of the shared table, if its version is still `cas`; 0 writes in any case.
pub(crate) fn set_shared(key: &str, value: &[u8], cas: u32) -> Write {
    // SAFETY: the host reads `key` and `value` only while it is called.
    match unsafe { abi::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) } {
        OK => Write::Done,
        CAS_MISMATCH => Write::Outdated,
        _ => Write::Failed,
    }
}

/// Defines a counter, which all workers share by its name; `None` if the host does not want to.
pub(crate) fn define_counter(name: &str) -> Option<u32> {
    let mut metric = 0;
    // SAFETY: the host reads `name` only while it is called, and writes an id.
    let status = unsafe { abi::proxy_define_metric(COUNTER, name.as_ptr(), name.len(), &raw mut metric) };
    (status == OK).then_some(metric)
}

/// Adds to a counter.
pub(crate) fn increment(metric: u32, by: u32) {
    // SAFETY: only numbers are handed over.
    unsafe { abi::proxy_increment_metric(metric, i64::from(by)) };
}

/// Ends the VM at once.
#[cfg(feature = "crash")]
pub(crate) fn crash() -> ! {
    std::process::abort()
}
