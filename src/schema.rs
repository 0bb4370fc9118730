//! What the API server makes of an object before any webhook sees it: kubectl applies with strict field validation, so
//! an unknown field is refused as a wrong type is.
//!
//! ```text
//!  CRDs of istio.io/api ──┐
//!  OpenAPI of Kubernetes ─┼─ tests/schema.rs ──▶ fields.txt ──parsed once──▶ Table ── faults(kind, node) ──▶ Fault …
//!  CRD of LaneGroup ──────┘   (make generate)
//! ```
//!
//! It follows types, fields, enums, bounds of integers, required fields and fields of which only one may be there. Of
//! built-in kinds only types and fields, for what is required of them is decided by code. What it does not follow
//! (patterns, lengths, CEL) is accepted here: a miss is better than an error on what the cluster takes. So is a null,
//! which the API server refuses when an object is made and takes as "remove this" in a patch.

mod fault;
mod kind;
mod table;
mod walk;

pub use fault::Fault;
pub use kind::unserved;
pub use walk::faults;
