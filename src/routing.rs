//! What Istio makes of the objects: hosts, protocols, rules, routes, headers, lanes.
//!
//! ```text
//!   VirtualService ──virtual_hosts──▶ VirtualHost: the routes that are tried for one host, one port, one caller
//!        │                                └──hops──▶ Hop: from who calls it to the port where a route leads
//!        └──────────routes_at(context)──▶ Route ──▶ Destination ──target_of──▶ Service, port, Protocol
//!                                            │            └──rule_for(caller)──▶ subset ──▶ carriers
//!                                            └──header_after(destination)──▶ what the lane header becomes
//!   LaneGroup, WasmPlugin ──Groups──▶ Lanes: which names are lanes, which lane a subset is
//! ```
//!
//! Every statement here is Istio's or Envoy's behaviour, with its source; what is wrong with a configuration
//! is the business of the rules.

mod budget;
mod caller;
mod cover;
mod delegate;
mod destination_rule;
mod entry;
mod grpc;
mod header;
mod hop;
mod import;
mod injection;
mod lanes;
mod protocol;
mod request;
mod route;
mod simulator;
mod subset;
mod taker;
mod target;
mod tracing;
mod upstream;
mod virtual_host;
mod visibility;

pub use crate::world::{EffectiveRule, EffectiveSubset, Lookup};
pub use budget::{Comparisons, MOST_COMPARED, Patterns, Weight, cost_of};
pub use caller::{Caller, callers_of};
#[cfg(test)]
pub use cover::count;
pub use cover::{covers, is_presence, may_cover};
pub use delegate::{Broken, delegate_of, merged, roots_of, routes_concerning};
pub use destination_rule::{look_up, rule_for, would_count};
pub use entry::{EntryDestination, EntryMatch, EntryRoute, Trust, entry_route, entry_routes};
pub use grpc::{GrpcSign, grpc_sign};
pub use header::{
    Block, Effect, Empty, HeaderOutcome, HeaderState, HeaderValue, Operation, Verb, Void, header_after,
};
pub use hop::{End, Hop, Place, hops, upstream};
pub use injection::{INJECT, Injection, WhyOff, has_sidecar, injection, is_injected};
pub use lanes::{Groups, Lanes, Reach, has_http_port, is_lane_key};
pub use protocol::Protocol;
pub use request::{NotAUrl, Request};
pub use route::{Condition, Context, Root, Route, Source, destinations, is_on_mesh, reached, routes_at};
pub use simulator::{
    Branch, Carrier, Client, Ending, Forwarded, NotFound, Outcome, Passed, Readiness, Refusal, Severed,
    Simulation, Taken, Unmet, Way, routes_at_gateway, routes_for, simulate, simulate_among,
    simulate_without_proxy,
};
pub use subset::{
    Carriers, Endpoints, Missed, carriers_of_subset, has_target_port, is_subset_routed, missed_by_a_slip,
    routes_to, workload_labels,
};
pub use taker::{Takers, TooMuch};
pub use target::{Port, Target, alias_at, effective_port, home_of, target_of};
pub use tracing::{Proxy, Tracing, Untraced, WhyUntraced, tracing_outward};
pub use upstream::Upstream;
pub use virtual_host::{
    VirtualHost, VirtualHosts, gateway_names, is_claimed_on_mesh, mesh_ports, more_specific_hosts,
    qualified_name, routes_of_host, served_for, served_hosts, sources_of, virtual_hosts,
};
pub use visibility::{Rank, is_visible, rank};
