//! `lanekeeper trace`.

use std::collections::HashMap;
use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::ValueEnum;

use super::exit_code;
use super::looking::Looking;
use crate::report::{write_trace_json, write_trace_text};
use crate::resource::ObjectRef;
use crate::trace::{Call, Question, follow};
use crate::world::View;

/// Arguments of `trace`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Applications are taken to pass trace ids on, and no lane header: that is what the lane filter writes. A
client that looks pods up by itself, as with a registry of its own (Nacos, Dubbo), calls their addresses,
and no route applies to it. A caller in the mesh that goes through the gateway sends the lane header there,
not the entry header.

Of several destinations with weights, the one with the most requests is followed, and each has to be in the
lane. Trace ids are taken to flow: `lanekeeper check` tells where they do not (LK504).

Exit codes: 0 the request is answered and stays in its lane, if it has one, 1 it does not, 2 it cannot run or a file cannot be read.

Examples:
  lanekeeper trace --url http://cars.example/ -H 'buid: wicph' --via cars-rti-adapter:20885,cars-aggregator k8s/
  lanekeeper trace --gateway istio-ingress/cars --url https://cars.example/orders -X POST k8s/
  lanekeeper trace --from cars/app=portal,version=wicph --url http://cars-aggregator:8080/ -H 'bu: wicph' k8s/
  lanekeeper trace --cluster --url http://cars.example/ -H 'buid: wicph'
  lanekeeper trace -o json --url http://cars.example/ k8s/ | jq '.hops[].answers'")]
pub(super) struct Args {
    /// The gateway that the first request is sent to (NAMESPACE/NAME); the only one there is, if it is not said
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "from")]
    gateway: Option<String>,
    /// The workload that sends the first request: its namespace, and its pods' labels
    #[arg(long, value_name = "NAMESPACE[/KEY=VALUE,…]")]
    from: Option<String>,
    /// The URL that is called
    #[arg(long)]
    url: String,
    /// A header of the first request: 'buid: wicph'
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// The method of the first request
    #[arg(short = 'X', long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// The first request is a call by gRPC
    #[arg(long)]
    grpc: bool,
    /// What the applications call, one after the other: services, with port and path where it matters; where it is not
    /// said, as spec.chain of the lane group has it
    #[arg(long, value_name = "SERVICE[:PORT][/PATH],…", value_delimiter = ',')]
    via: Option<Vec<Call>>,
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    looking: Looking,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs; its fields only grow in number
    Json,
}

impl Args {
    fn question(&self) -> Question {
        Question {
            url: self.url.clone(),
            method: self.method.clone(),
            headers: self.headers.clone(),
            is_grpc: self.grpc,
            gateway: self.gateway.clone(),
            from: self.from.clone(),
            via: self.via.clone(),
        }
    }
}

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    let question = args.question();
    // As the option is written.
    let told = |unclear| anyhow::anyhow!("--{unclear}");
    // Before anything is read, which takes time on a cluster.
    question.request().map_err(told)?;
    let read = args.looking.read()?;
    let view = View::new(&read.world);
    let start = question.start(&view, &read.world).map_err(told)?;
    let trace = follow(&view, start, question.via.as_deref());
    let objects: HashMap<ObjectRef, _> = read
        .files
        .objects
        .iter()
        .map(|object| (object.resource.reference(), object))
        .collect();
    let placing = |object: &ObjectRef, path: &str| {
        let object = objects.get(object)?;
        Some(read.files.place(object, path).to_string())
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = match args.output {
        Output::Text => write_trace_text(&trace, &placing, colour, &mut out),
        Output::Json => write_trace_json(&trace, &placing, &mut out),
    };
    written
        .and_then(|()| out.flush())
        .context("the trace could not be written")?;
    Ok(exit_code(read.has_problems, !trace.keeps_lane()))
}
