"""What the lane filter costs a request in a real Envoy, beside other filters, in one run.

Each round measures every variant once, in a random order; a figure is the median over the rounds of what the variant has
against the one without a filter in the same round. Requests are proxied by one worker, which has a processor for itself, to
another Envoy that answers.
"""
import argparse
import asyncio
import contextlib
import os
import random
import re
import secrets
import statistics
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "tests", "envoy"))

from proxy import TYPES, Envoy, cluster, listener, to, wasm  # noqa: E402

FILTERS = TYPES + "extensions.filters.http."
SEED = {"cache_size": 1024, "lane_header": "bu", "traffic_lane": "wtchk", "type": "W3C"}
TRACES = [secrets.token_hex(16) for _ in range(300)]
# So many that the store is full, as it always is after a while.
OTHERS = [secrets.token_hex(16) for _ in range(20_000)]
# What the inbound listeners store is under another lane header: it would drive out what the outbound ones are to find.
INBOUND = {**SEED, "lane_header": "bv"}
WRK = """
local requests, at = {}, 0
function init(args)
  for line in io.lines(args[1]) do
    local headers = {traceparent = "00-" .. line .. "-00f067aa0ba902b7-01"}
    if args[2] then headers[args[2]] = "wicph" end
    requests[#requests + 1] = wrk.format("GET", "/", headers)
  end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
"""
LUA_LOOKUP = "lanes = {" + ", ".join(f'["{trace}"] = "wicph"' for trace in TRACES) + """}
function envoy_on_request(handle)
  local headers = handle:headers()
  if headers:get("bu") ~= nil then return end
  local trace = headers:get("traceparent")
  local lane = trace and lanes[string.sub(trace, 4, 35)]
  headers:replace("bu", lane or "wtchk")
end
"""
LUA_PUT = """
lanes, ring, at = {}, {}, 0
function envoy_on_request(handle)
  local headers = handle:headers()
  local lane, trace = headers:get("bv"), headers:get("traceparent")
  if lane == nil or trace == nil then return end
  local id = string.sub(trace, 4, 35)
  if lanes[id] == nil then
    at = at % 1024 + 1
    if ring[at] ~= nil then lanes[ring[at]] = nil end
    ring[at] = id
  end
  lanes[id] = lane
end
"""


def lua(source):
    return {"@type": FILTERS + "lua.v3.Lua", "default_source_code": {"inline_string": source}}


def variants(module, noop):
    """A name, the direction of its listener, its filter and the lane header that its requests come with."""
    mutation = {"@type": FILTERS + "header_mutation.v3.HeaderMutation", "mutations": {"request_mutations": [
        {"append": {"header": {"key": "bu", "value": "wicph"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}}

    def ours(seed=SEED, **more):
        return wasm(module, {**seed, **more}, "FAIL_RELOAD")
    return [
        ("none", "OUTBOUND", None, None),
        ("header_mutation", "OUTBOUND", mutation, None),
        ("Lua lookup", "OUTBOUND", lua(LUA_LOOKUP), None),
        ("Lua put", "INBOUND", lua(LUA_PUT), "bv"),
        ("SDK no-op", "OUTBOUND", wasm(noop, "", "FAIL_RELOAD"), None),
        ("ours, outbound hit", "OUTBOUND", ours(), None),
        ("ours, outbound hit, direction given", "OUTBOUND", ours(direction="outbound"), None),
        ("ours, outbound, lane present", "OUTBOUND", ours(), "bu"),
        ("ours, inbound put and done", "INBOUND", ours(INBOUND), "bv"),
        ("ours, inbound put and done, direction given", "INBOUND", ours(INBOUND, direction="inbound"), "bv"),
        ("ours, inbound, no lane", "INBOUND", ours(INBOUND), None),
    ]


class Measured(Envoy):
    """One worker, a listener for each variant."""

    def __init__(self, binary, tried, upstream):
        self.tried, self.upstream = tried, upstream
        self.NAMES = ("admin", *(name for name, *_ in tried))
        super().__init__(binary, "", {}, 1)

    def bootstrap(self):
        def filters(config):
            return [{"name": "measured", "typed_config": config}] if config else []
        return {**super().base(), "static_resources": {
            "listeners": [listener(name, self.ports[name], direction, filters(config), to("upstream"))
                          for name, direction, config, _ in self.tried],
            "clusters": [cluster("upstream", self.upstream)]}}


class Upstream(Envoy):
    """An Envoy that answers at once."""
    NAMES = ("admin", "answers")

    def bootstrap(self):
        answer = {"direct_response": {"status": 200}}
        return {**super().base(), "static_resources": {
            "listeners": [listener("answers", self.ports["answers"], "INBOUND", [], answer)]}}


async def wrk(script, port, traces, header, seconds):
    """How many requests were answered, and how many a second."""
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "-s", script, f"http://127.0.0.1:{port}/", "--", traces, *([header] if header else [])]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    if process.returncode or "Non-2xx" in text:
        sys.exit(f"{' '.join(command)}:\n{text}")
    return int(re.search(r"(\d+) requests in", text)[1]), float(re.search(r"Requests/sec: *([\d.]+)", text)[1])


@contextlib.contextmanager
def on(processors):
    """What is started here runs on these processors, if there are any."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, processors or before)
    yield
    os.sched_setaffinity(0, before)


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envoy")
    parser.add_argument("--module", default="target/wasm/lanekeeper.wasm")
    parser.add_argument("--noop", default="target/wasm/build/wasm32-unknown-unknown/release/lanekeeper_sdk_noop.wasm")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--only", default="", help="a pattern of the variants' names; `none` is always there")
    args = parser.parse_args()
    tried = [one for one in variants(args.module, args.noop) if one[0] == "none" or re.search(args.only, one[0])]
    fill = ("fill", "INBOUND", wasm(args.module, SEED, "FAIL_RELOAD"), "bu")
    with tempfile.TemporaryDirectory() as directory:
        def written(name, text):
            path = os.path.join(directory, name)
            with open(path, "w") as file:
                file.write(text)
            return path
        script = written("requests.lua", WRK)
        known, others = written("traces", "\n".join(TRACES)), written("others", "\n".join(OTHERS))
        own, *others_own = sorted(os.sched_getaffinity(0))
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(on(set(others_own)))
            upstream = await stack.enter_async_context(Upstream(args.envoy, "", {}, 1))
            with on({own}):
                envoy = await stack.enter_async_context(Measured(args.envoy, [*tried, fill], upstream.ports["answers"]))
            # What the outbound listeners are to find, the newest in a full store.
            for traces in (others, known):
                await wrk(script, envoy.ports["fill"], traces, "bu", 1)
            rates, costs = {name: [] for name, *_ in tried}, {name: [] for name, *_ in tried}
            for _ in range(args.rounds):
                for name, _, _, header in random.sample(tried, len(tried)):
                    traces = others if header == "bv" else known
                    before = envoy.processor_seconds()
                    count, rate = await wrk(script, envoy.ports[name], traces, header, args.seconds)
                    costs[name].append((envoy.processor_seconds() - before) / count * 1e6)
                    rates[name].append(rate)
            stats = await envoy.lane_stats()
    if stats["miss"]:
        sys.exit(f"outbound requests did not find their lanes: {stats}")
    print(f"{'':44} requests/s  µs CPU a request, and range over {args.rounds} rounds")
    for name, *_ in tried:
        ratio = statistics.median(rate / none for rate, none in zip(rates[name], rates["none"]))
        more = sorted(cost - none for cost, none in zip(costs[name], costs["none"]))
        shown = f"{statistics.median(costs[name]):+.1f}" if name == "none" else f"{statistics.median(more):+.1f} ({more[0]:+.1f} to {more[-1]:+.1f})"
        print(f"{name:44} {ratio:10.2f}  {shown}")


asyncio.run(main())
