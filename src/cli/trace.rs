//! `lanekeeper trace`.

use std::collections::HashMap;
use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::exit_code;
use super::looking::Looking;
use crate::report::{write_trace_json, write_trace_text};
use crate::resource::{Kind, Labels, ObjectRef, Resource};
use crate::routing::{Client, Request};
use crate::symbol::Symbol;
use crate::trace::{Call, Start, follow};
use crate::world::{View, World};

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

pub(super) fn run(args: &Args, colour: bool) -> anyhow::Result<u8> {
    let (request, port) = request(args)?;
    let read = args.looking.read()?;
    let view = View::new(&read.world);
    let client = client(args, &view, &read.world)?;
    let start = Start {
        client,
        request,
        port,
        has_proxy: true,
    };
    let trace = follow(&view, start, args.via.as_deref());
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

/// The first request, and the port that it is sent to.
fn request(args: &Args) -> anyhow::Result<(Request, u32)> {
    let (mut request, port) = Request::get(&args.url).context("--url")?;
    args.method.clone_into(&mut request.method);
    if args.grpc {
        "POST".clone_into(&mut request.method);
        request.http2 = true;
        request = request.with("content-type", "application/grpc");
    }
    for header in &args.headers {
        let Some((name, value)) = header.split_once(':') else {
            bail!("--header `{header}`: a header is written as 'name: value'");
        };
        let is_name = !name.is_empty() && name.bytes().all(lanekeeper_filter_core::lane::is_token);
        if !is_name {
            bail!("--header `{header}`: `{name}` is no name of a header");
        }
        if name.eq_ignore_ascii_case("host") {
            value.trim().clone_into(&mut request.authority);
        } else {
            request = request.with(name, value.trim());
        }
    }
    Ok((request, port))
}

/// Who sends it.
fn client(args: &Args, view: &View<'_>, world: &World) -> anyhow::Result<Client> {
    if let Some(from) = &args.from {
        let (namespace, labels) = from.split_once('/').unwrap_or((from, ""));
        let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .with_context(|| format!("--from: `{pair}` is no label; one is written KEY=VALUE"))?;
            anyhow::Ok((Symbol::new(key), Symbol::new(value)))
        });
        let labels = Labels::new(pairs.collect::<Result<Vec<_>, _>>()?);
        return Ok(Client::in_mesh(namespace.into(), labels));
    }
    let mut gateways: Vec<String> = world
        .objects()
        .filter_map(|object| match object {
            Resource::Gateway(gateway) => Some(format!("{}/{}", gateway.meta.namespace, gateway.meta.name)),
            _ => None,
        })
        .collect();
    gateways.sort();
    let named = match (&args.gateway, gateways.as_slice()) {
        (Some(named), _) => named.clone(),
        (None, [only]) => only.clone(),
        (None, []) => bail!("there is no Gateway here: name the sender with --from"),
        (None, several) => bail!("name one of the gateways with --gateway: {}", several.join(", ")),
    };
    let Some((namespace, name)) = named.split_once('/') else {
        let fitting: Vec<&String> = gateways
            .iter()
            .filter(|full| full.ends_with(&format!("/{named}")))
            .collect();
        bail!(match fitting.as_slice() {
            [] => format!("--gateway {named}: it is written NAMESPACE/NAME"),
            [first, ..] => format!("--gateway {named}: it is written NAMESPACE/NAME; did you mean {first}?"),
        });
    };
    if view
        .get(&ObjectRef::new(Kind::Gateway, namespace, name))
        .is_none()
    {
        bail!(
            "--gateway {named}: there is no such Gateway; there are: {}",
            gateways.join(", ")
        );
    }
    Ok(Client::at_gateway(
        view,
        &named.as_str().into(),
        &namespace.into(),
    ))
}
