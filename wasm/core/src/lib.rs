//! The pure half of the lane filter: what needs no Envoy.
//!
//! ```text
//!  pluginConfig ─▶ json ─▶ Config ─┐
//!  trace header ─▶ trace_id ─▶ Key ─┼─▶ store: which bucket, and what its record is after put, get or done
//!  lane header  ─▶ lane ────────────┘
//! ```
//!
//! The filter (`wasm/filter`) does the host calls around it, and the webhook reads a plugin's configuration with the
//! same [`Config::parse`]: what the filter would refuse in a pod is refused when it is applied.
//!
//! Nothing here panics, whatever comes in: in the filter a panic would end a worker's VM.

#![no_std]

extern crate alloc;

pub mod baggage;
pub mod config;
pub mod json;
pub mod lane;
pub mod store;
pub mod trace_id;

pub use config::{Config, ConfigError, Direction};
pub use store::{Layout, Store};
pub use trace_id::{Format, Key};
