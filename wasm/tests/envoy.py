#!/usr/bin/env python3
"""The lane filter in a real Envoy: traces through an inbound listener, an application and an outbound listener.

  envoy.py ENVOY MODULE [--traces N] [--in-flight N] [--concurrency N] [--cache N]

One Envoy has both listeners, as a sidecar does. The application answers each request by one request of its own through the
outbound listener, with the trace header and without the lane, after a random pause, on connections of its own so that
any worker may get it. What comes out has to have the lane that came in. Exit code 1 if any lane is wrong.
"""
import argparse
import asyncio
import json
import random
import secrets
import subprocess
import sys
import tempfile

INBOUND, APPLICATION, OUTBOUND, UPSTREAM, ADMIN = 21006, 21080, 21001, 21090, 21000
WASM = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
STRING = "type.googleapis.com/google.protobuf.StringValue"


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(module, configuration):
    wasm = {"name": "lane", "typed_config": {"@type": WASM, "config": {
        "name": "lane", "failure_policy": "FAIL_RELOAD",
        "configuration": {"@type": STRING, "value": json.dumps(configuration)},
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": module}}}}}}
    router = {"name": "router", "typed_config": {"@type": ROUTER}}

    def listener(name, port, direction, cluster):
        manager = {"@type": MANAGER, "stat_prefix": name, "http_filters": [wasm, router], "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]}}
        return {"name": name, "address": address(port), "traffic_direction": direction,
                "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}

    def cluster(name, port):
        return {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]},
            "circuit_breakers": {"thresholds": [{"max_connections": 9999, "max_pending_requests": 9999, "max_requests": 9999}]}}

    return {"admin": {"address": address(ADMIN)}, "static_resources": {
        "listeners": [listener("in", INBOUND, "INBOUND", "application"), listener("out", OUTBOUND, "OUTBOUND", "upstream")],
        "clusters": [cluster("application", APPLICATION), cluster("upstream", UPSTREAM)]}}


async def read(reader):
    """The headers of one message without a body longer than its content-length, and that body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return lines[0], headers, body


async def ask(port, headers):
    """One GET on a connection of its own; the answer's body, or its status where that is not 200."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    writer.write(f"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n".encode())
    status, _, body = await read(reader)
    writer.close()
    return body.decode() if " 200 " in status else status


def serve(port, answer):
    async def connection(reader, writer):
        try:
            while True:
                _, headers, _ = await read(reader)
                body = (await answer(headers)).encode()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()
    return asyncio.start_server(connection, "127.0.0.1", port, backlog=1024)


async def application(headers):
    await asyncio.sleep(random.random() * 0.02)
    passed = {name: headers[name] for name in ("traceparent", "b3", "x-request-id") if name in headers}
    return await ask(OUTBOUND, passed)


async def upstream(headers):
    return headers.get("bu", "")


async def until_ready():
    for _ in range(100):
        try:
            if "LIVE" in await ask_path("/ready"):
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    sys.exit("Envoy is not ready after 10 s")


async def ask_path(path):
    reader, writer = await asyncio.open_connection("127.0.0.1", ADMIN)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text


def requests(kind):
    """Headers and the lane that has to come out."""
    lane = random.choice(["wicph", "wtchk", "gray-1"])
    trace = secrets.token_hex(16)
    traceparent = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"}
    return {
        "trace": ({"bu": lane, **traceparent}, lane),
        "no lane": (traceparent, "wtchk"),
        "request id": ({"bu": lane}, lane),
    }[kind]


async def traces(count, in_flight, kind):
    wrong, gate = [], asyncio.Semaphore(in_flight)

    async def one():
        headers, expected = requests(kind)
        async with gate:
            found = await ask(INBOUND, headers)
        if found != expected:
            wrong.append((expected, found))
    await asyncio.gather(*(one() for _ in range(count)))
    return wrong


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envoy"), parser.add_argument("module")
    for name, default in (("--traces", 10000), ("--in-flight", 64), ("--concurrency", 2), ("--cache", 1024)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    configuration = {"cache_size": args.cache, "lane_header": "bu", "traffic_lane": "wtchk", "type": "W3C"}
    servers = [await serve(APPLICATION, application), await serve(UPSTREAM, upstream)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, tempfile.TemporaryFile("w+") as log:
        json.dump(bootstrap(args.module, configuration), file), file.flush()
        envoy = subprocess.Popen([args.envoy, "-c", file.name, "--disable-hot-restart", "-l", "warning",
                                  "--concurrency", str(args.concurrency)], stdout=log, stderr=log)
        failed = False
        try:
            await until_ready()
            for kind, count in (("trace", args.traces), ("no lane", args.traces // 10), ("request id", args.traces // 10)):
                wrong = await traces(count, args.in_flight, kind)
                failed |= bool(wrong)
                print(f"concurrency {args.concurrency} cache {args.cache} {kind}: {count} traces, {len(wrong)} wrong", wrong[:3] or "", flush=True)
            stats = await ask_path("/stats?filter=lane_&usedonly")
            print("  " + ", ".join(line.strip() for line in stats.splitlines() if "lane_" in line))
        finally:
            envoy.terminate()
            envoy.wait()
            if failed:
                log.seek(0)
                print(log.read()[-4000:])
    for server in servers:
        server.close()
    return failed


sys.exit(asyncio.run(main()))
