#!/usr/bin/env python3
"""The lane filter in a real Envoy: requests through an inbound listener, an application and an outbound listener.

What comes out has to have the lane that came in. Each line says how many requests were tried and how many were wrong; the
exit code is 1 if any was.
"""
import argparse
import asyncio
import os
import random
import secrets
import sys
import time

import wire
from application import TRACE_HEADERS, Application, ask_grpc, ask_http2, channels, http2_clients
from proxy import Envoy

LANES = ("wicph", "gray-1", "v1.2_b")
DEFAULT = "wtchk"
# The plugin that the filter stands in for has this configuration.
SEED = {"cache_size": 1024, "lane_header": "bu", "traffic_lane": DEFAULT, "type": "W3C"}


class Tally:
    """What was tried, and what was wrong."""

    def __init__(self):
        self.is_wrong = False

    def line(self, name, wrong, tried, more=""):
        self.is_wrong |= bool(wrong)
        print(f"{name}: {tried} tried, {len(wrong)} wrong{more}", *wrong[:3], flush=True)

    def check(self, name, found, expected):
        self.line(name, [] if found == expected else [(found, f"expected {expected}")], 1)


def traceparent(trace=None):
    return ("traceparent", f"00-{trace or secrets.token_hex(16)}-{secrets.token_hex(8)}-01")


async def many(count, in_flight, ask):
    """Asks that often, so many at a time. `ask` gives what was found and what was to be."""
    wrong, gate = [], asyncio.Semaphore(in_flight)

    async def one():
        async with gate:
            found, expected = await ask()
        if found != expected:
            wrong.append((found, f"expected {expected}"))
    await asyncio.gather(*(one() for _ in range(count)))
    return wrong


def with_lane(envoy):
    async def ask():
        lane = random.choice(LANES)
        return await wire.ask(envoy.ports["inbound"], [("bu", lane), traceparent()]), lane
    return ask


def without_lane(envoy):
    async def ask():
        return await wire.ask(envoy.ports["inbound"], [traceparent()]), DEFAULT
    return ask


def summary(stats):
    return "  " + ", ".join(f"{name} {value}" for name, value in stats.items() if value)


async def load(args, tally, concurrency, cache, in_flight):
    """The lanes of many traces, from the very first request on."""
    async with Envoy(args.envoy, args.module, {**SEED, "cache_size": cache}, concurrency) as envoy, Application(envoy.ports) as application:
        name = f"{concurrency} workers, cache {cache}, {in_flight} in flight"
        tally.line(f"{name}, the first after start", await many(1000, in_flight, with_lane(envoy)), 1000)
        tally.line(f"{name}", await many(args.traces, in_flight, with_lane(envoy)), args.traces)
        tally.line(f"{name}, no lane", await many(args.traces // 10, in_flight, without_lane(envoy)), args.traces // 10)
        application.forwards = ("x-request-id",)

        async def by_request_id():
            lane = random.choice(LANES)
            return await wire.ask(envoy.ports["inbound"], [("bu", lane)]), lane
        tally.line(f"{name}, request id only", await many(args.traces // 10, in_flight, by_request_id), args.traces // 10)
        print(summary(await envoy.lane_stats()))


def formats():
    """What an application is sent, of what it forwards the same or what is given."""
    trace = secrets.token_hex(16)
    yield "W3C", [traceparent(trace)]
    yield "W3C of a later version", [("traceparent", f"01-{trace}-{secrets.token_hex(8)}-01-more")]
    yield "B3 in one header", [("b3", f"{trace}-{secrets.token_hex(8)}-1")]
    yield "B3 in one header, 64 bits", [("b3", f"{trace[:16]}-{secrets.token_hex(8)}-1")]
    yield "B3 in several headers", [("x-b3-traceid", trace), ("x-b3-spanid", secrets.token_hex(8)), ("x-b3-sampled", "1")]
    yield "Jaeger", [("uber-trace-id", f"{int(trace, 16):x}:{secrets.token_hex(8)}:0:1")]
    yield "Jaeger, URL-encoded", [("uber-trace-id", f"{trace}%3A{secrets.token_hex(8)}%3A0%3A1")]
    yield "SkyWalking", [("sw8", "1-ZmFjZQ==-c2VnbWVudA==-3-cG9ydGFs-djE=-L29yZGVy-MTAuMC4wLjE6ODA=")]
    yield "Datadog", [("x-datadog-trace-id", str(secrets.randbits(63) + 1)), ("x-datadog-parent-id", "77")]
    yield "X-Ray", [("x-amzn-trace-id", f"Root=1-{trace[:8]}-{trace[8:]};Parent={secrets.token_hex(8)};Sampled=1")]


async def headers(args, tally):
    """One request of each kind, in an Envoy that takes each format."""
    async with Envoy(args.envoy, args.module, {**SEED, "type": "AUTO"}) as envoy, Application(envoy.ports) as application:
        inbound, outbound = envoy.ports["inbound"], envoy.ports["outbound"]
        for name, sent in formats():
            wrong = []
            for _ in range(20):
                lane = secrets.token_hex(4)
                found = await wire.ask(inbound, [("bu", lane), *sent])
                wrong += [] if found == lane else [(found, f"expected {lane}")]
            tally.line(name, wrong, 20)
        stats = await envoy.lane_stats()
        tally.check("of these, traces that were not read", stats.get("no_trace", 0), 0)
        tally.check("no lane", await wire.ask(inbound, [traceparent()]), DEFAULT)
        tally.check("an empty lane", await wire.ask(inbound, [("bu", ""), traceparent()]), DEFAULT)
        tally.check("neither lane nor trace", await wire.ask(inbound, []), DEFAULT)
        tally.check("a lane and no trace, and nothing is forwarded", await wire.ask(inbound, [("bu", "wicph")]), DEFAULT)
        application.forwards = ("x-request-id",)
        tally.check("a lane and a request id", await wire.ask(inbound, [("bu", "wicph")]), "wicph")
        application.forwards = ("bu", *TRACE_HEADERS)
        tally.check("the application sends the lane", await wire.ask(inbound, [("bu", "wicph"), traceparent()]), "wicph")
        tally.check("the application sends another lane", await wire.ask(outbound, [("bu", "own"), traceparent()]), "own")
        tally.check("two lanes on the way out stay", await wire.ask(outbound, [("bu", "one"), ("bu", "two")]), "one,two")
        tally.check("an empty lane and another", await wire.ask(outbound, [("bu", ""), ("bu", "two")]), DEFAULT)
        application.forwards = TRACE_HEADERS
        hostile = ["\xff\xfe\x80", "a b", "a,b", "{}", "x" * 129, "x" * 50_000, "\xe6\xb3\xb3"]
        wrong = []
        for value in hostile:
            for sent in ([("bu", value), traceparent()], *([("bu", "wicph"), (name, value)] for name in TRACE_HEADERS)):
                found = await wire.ask(inbound, sent)
                wrong += [] if found == DEFAULT else [(found[:80], f"expected {DEFAULT} for {sent[0][1][:20]!r}")]
        tally.line("hostile values", wrong, len(hostile) * (1 + len(TRACE_HEADERS)))
        too_long = await wire.ask(inbound, [("bu", "x" * 61_500), traceparent()])
        tally.check("more headers than Envoy takes", too_long.split(" ", 1)[-1], "431 Request Header Fields Too Large")
        tally.check("after all that", await wire.ask(inbound, [("bu", "wicph"), traceparent()]), "wicph")


async def protocols(args, tally):
    """HTTP/2 to both listeners, and gRPC all the way."""
    async with Envoy(args.envoy, args.module, SEED) as envoy, Application(envoy.ports) as application:
        clients, grpc_channels = http2_clients(4), channels(envoy.ports["inbound_grpc"], 4)
        count = 1000

        async def http2():
            lane = random.choice(LANES)
            return await ask_http2(next(clients), envoy.ports["inbound"], [("bu", lane), traceparent()]), lane

        async def grpc():
            lane = random.choice((*LANES, None))
            metadata = [traceparent(), *([("bu", lane)] if lane else [])]
            return (await ask_grpc(next(grpc_channels), metadata)).decode(), lane or DEFAULT
        application.is_http2 = True
        tally.line("HTTP/2", await many(count, args.in_flight, http2), count)
        tally.line("gRPC", await many(count, args.in_flight, grpc), count)
        print(summary(await envoy.lane_stats()))


async def updates(args, tally):
    """Requests while the configuration and the code change under them, and the first ones after."""
    async with Envoy(args.envoy, args.module, SEED, 4) as envoy, Application(envoy.ports):
        for name, module, configuration in (
            ("a larger cache", args.module, {**SEED, "cache_size": 4096}),
            ("another key", args.module, {**SEED, "cache_size": 4096, "inbound_default": False}),
            ("a smaller cache", args.module, {**SEED, "cache_size": 256}),
            ("other code", args.crash, {**SEED, "cache_size": 256}),
            ("other code and another cache", args.module, SEED),
        ):
            during = asyncio.create_task(many(2000, args.in_flight, with_lane(envoy)))
            await asyncio.sleep(0.2)
            await envoy.update(module, configuration)
            after = await many(1000, args.in_flight, with_lane(envoy))
            tally.line(f"{name}, the first after it", after, 1000)
            tally.line(f"{name}, during it", await during, 2000)
        await envoy.update(args.module, {**SEED, "cache_size": 0}, "rejected")
        tally.line("a configuration that is refused, the first after it", await many(1000, args.in_flight, with_lane(envoy)), 1000)
        print(summary(await envoy.lane_stats()))


async def until_answered(port, headers):
    """Asks until there is another answer than 503, or it is clear that none comes: for how many seconds, and all answers."""
    began, answers = time.monotonic(), []
    while time.monotonic() < began + 5 and (not answers or "503" in answers[-1]):
        answers.append(await wire.ask(port, headers))
        await asyncio.sleep(0.02)
    return time.monotonic() - began, answers


async def failures(args, tally):
    """What each policy does when a VM crashes with lanes in the store."""
    for policy in ("FAIL_RELOAD", "FAIL_OPEN", "FAIL_CLOSED"):
        async with Envoy(args.envoy, args.crash, SEED, 1, policy) as envoy, Application(envoy.ports) as application:
            inbound = envoy.ports["inbound"]
            application.gate.clear()
            held = {traceparent(): random.choice(LANES) for _ in range(50)}
            waiting = [asyncio.create_task(wire.ask(inbound, [("bu", lane), trace])) for trace, lane in held.items()]
            deadline = time.monotonic() + 10
            while (await envoy.lane_stats()).get("stored", 0) < len(held):
                if time.monotonic() > deadline:
                    sys.exit(f"{policy}: not all lanes are stored: {await envoy.lane_stats()}")
                await asyncio.sleep(0.05)
            await wire.ask(inbound, [("x-lanekeeper-crash", "now")])
            # A request of a trace that came before the crash.
            trace, lane = next(iter(held.items()))
            seconds, answers = await until_answered(envoy.ports["outbound"], [trace])
            unavailable = sum("503" in answer for answer in answers)
            print(f"{policy}: 503 for {seconds:.1f} s, {unavailable} of {len(answers)} requests, then {answers[-1]!r} for {lane!r}")
            if policy != "FAIL_RELOAD":
                expected = {"FAIL_OPEN": "", "FAIL_CLOSED": "HTTP/1.1 503 Service Unavailable"}[policy]
                tally.check(f"{policy}, in the end", answers[-1], expected)
                for task in waiting:
                    task.cancel()
                continue
            tally.check("FAIL_RELOAD, the first after it", answers[-1], lane)
            tally.check("FAIL_RELOAD, 503 for a moment", 0 < unavailable and seconds < 4, True)
            application.gate.set()
            await asyncio.gather(*waiting)
            # Each listener waits for itself before it starts its VM anew.
            await until_answered(inbound, [("bu", lane), traceparent()])
            arrived = {trace: application.arrived.get(trace[1]) for trace in held}
            wrong = [(found, f"expected {held[trace]}") for trace, found in arrived.items() if found != held[trace]]
            tally.line("FAIL_RELOAD, requests that were on their way", wrong, len(held))
            tally.line("FAIL_RELOAD, after it", await many(1000, args.in_flight, with_lane(envoy)), 1000)


async def memory(args, tally):
    """Envoy's resident memory before and after many traces, of which each has a key of its own."""
    async with Envoy(args.envoy, args.module, SEED) as envoy:
        warm = args.memory // 10
        wrong = await loop_traces(envoy, warm)
        before = envoy.resident()
        wrong += await loop_traces(envoy, args.memory)
        after = envoy.resident()
        tally.line("memory", wrong, warm + args.memory, f"; resident after {warm} traces {before:.1f} MiB, after {args.memory} more {after:.1f} MiB")
        tally.line("memory stays flat", [] if after < before + 2 else [f"{after - before:.1f} MiB more"], args.memory)
        print(summary(await envoy.lane_stats()))


async def loop_traces(envoy, count, connections=32, batch=50):
    """Traces through both directions of the filter, the application's part done by Envoy itself."""
    async def connection(share):
        reader, writer = await asyncio.open_connection("127.0.0.1", envoy.ports["loop"])
        wrong = []
        for start in range(0, share, batch):
            lanes = [random.choice(LANES) for _ in range(min(batch, share - start))]
            writer.write("".join(
                f"GET / HTTP/1.1\r\nhost: x\r\nbu: {lane}\r\ntraceparent: 00-{random.getrandbits(128) | 1:032x}-00f067aa0ba902b7-01\r\n\r\n"
                for lane in lanes).encode())
            for lane in lanes:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                if f"\r\nlane: {lane}\r\n" not in head:
                    wrong.append((head, lane))
        writer.close()
        return wrong
    shares = [count // connections + (at < count % connections) for at in range(connections)]
    return sum(await asyncio.gather(*map(connection, shares)), [])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envoy", help="the binary")
    parser.add_argument("--module", default="target/wasm/lanekeeper.wasm")
    parser.add_argument("--crash", default="target/wasm/lanekeeper-crash.wasm", help="the module that a header crashes")
    parser.add_argument("--traces", type=int, default=10_000, help="a load")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--memory", type=int, metavar="TRACES", help="measure only memory, over so many traces")
    parser.add_argument("--only", choices=("load", "headers", "protocols", "updates", "failures"))
    args = parser.parse_args()
    tally = Tally()
    if args.memory:
        await memory(args, tally)
        return tally.is_wrong
    for scenario in (headers, protocols, updates, failures):
        if args.only in (None, scenario.__name__):
            await scenario(args, tally)
    if args.only in (None, "load"):
        for concurrency in (1, 2, 4):
            for cache in (1024, 128):
                await load(args, tally, concurrency, cache, args.in_flight)
        # First in, first out would lose some here: the buckets fill unevenly, and requests take unevenly long.
        await load(args, tally, 4, 1024, 300)
    return tally.is_wrong


# Tasks that are of no interest any more need not end well.
code = asyncio.run(main())
sys.stdout.flush()
os._exit(code)
