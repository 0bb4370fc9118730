"""A real Envoy as a sidecar is one: inbound and outbound listeners in one process, the filter by ECDS as Istio gives it."""
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

TYPES = "type.googleapis.com/envoy."
WASM = TYPES + "extensions.filters.http.wasm.v3.Wasm"
MANAGER = TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = TYPES + "extensions.filters.http.router.v3.Router"
HTTP_OPTIONS = TYPES + "extensions.upstreams.http.v3.HttpProtocolOptions"
STRING = "type.googleapis.com/google.protobuf.StringValue"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def wasm(module, configuration, policy):
    return {"@type": WASM, "config": {
        "name": "lane", "failure_policy": policy,
        "configuration": {"@type": STRING, "value": configuration if isinstance(configuration, str) else json.dumps(configuration)},
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": os.path.abspath(module)}}}}}


def cluster(name, port, is_http2=False):
    found = {"name": name, "type": "STATIC", "connect_timeout": "5s", "load_assignment": {
        "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]},
        "circuit_breakers": {"thresholds": [{"max_connections": 9999, "max_pending_requests": 9999, "max_requests": 9999}]}}
    if is_http2:
        found["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}}
    return found


def listener(name, port, direction, filters, route):
    """A listener whose one route matches everything; `route` is what it does."""
    router = {"name": "router", "typed_config": {"@type": ROUTER}}
    manager = {"@type": MANAGER, "stat_prefix": name, "http_filters": [*filters, router], "route_config": {
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]}}
    return {"name": name, "address": address(port), "traffic_direction": direction,
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}


def to(name):
    return {"route": {"cluster": name, "timeout": "60s"}}


class Envoy:
    """One Envoy; `async with` starts it and ends it.

    | listener | leads to |
    |---|---|
    | inbound, outbound | application, upstream |
    | inbound_grpc, outbound_grpc | the same by HTTP/2 |
    | loop | outbound listener `echo`, without the lane: an application of no cost |
    | echo | answers by itself, the lane in the header `lane` |
    """

    NAMES = ("admin", "inbound", "outbound", "inbound_grpc", "outbound_grpc", "loop", "echo",
             "application", "upstream", "application_grpc", "upstream_grpc")

    def __init__(self, binary, module, configuration, concurrency=2, policy="FAIL_RELOAD"):
        self.binary, self.concurrency, self.policy = binary, concurrency, policy
        self.ports = dict(zip(self.NAMES, free_ports(len(self.NAMES))))
        self.directory = tempfile.TemporaryDirectory()
        self.extension = os.path.join(self.directory.name, "ecds.json")
        self.versions = 0
        self.write_extension(module, configuration)

    def write_extension(self, module, configuration):
        """Writes the file that Envoy watches; the rename is what it sees."""
        self.versions += 1
        resource = {"@type": TYPES + "config.core.v3.TypedExtensionConfig", "name": "lane",
                    "typed_config": wasm(module, configuration, self.policy)}
        with open(self.extension + ".new", "w") as file:
            json.dump({"version_info": str(self.versions), "resources": [resource]}, file)
        os.rename(self.extension + ".new", self.extension)

    def base(self):
        return {"node": {"id": "lane", "cluster": "lane"}, "admin": {"address": address(self.ports["admin"])}}

    def bootstrap(self):
        ports = self.ports
        lane = [{"name": "lane", "config_discovery": {
            "config_source": {"path_config_source": {"path": self.extension}}, "type_urls": [WASM]}}]
        echo = {"direct_response": {"status": 200},
                "response_headers_to_add": [{"header": {"key": "lane", "value": "%REQ(bu)%"}}]}
        loop = {**to("echo"), "request_headers_to_remove": ["bu"]}
        return {**self.base(), "static_resources": {
            "listeners": [
                listener("inbound", ports["inbound"], "INBOUND", lane, to("application")),
                listener("outbound", ports["outbound"], "OUTBOUND", lane, to("upstream")),
                listener("inbound_grpc", ports["inbound_grpc"], "INBOUND", lane, to("application_grpc")),
                listener("outbound_grpc", ports["outbound_grpc"], "OUTBOUND", lane, to("upstream_grpc")),
                listener("loop", ports["loop"], "INBOUND", lane, loop),
                listener("echo", ports["echo"], "OUTBOUND", lane, echo)],
            "clusters": [*(cluster(name, ports[name]) for name in ("application", "upstream", "echo")),
                         *(cluster(name, ports[name], True) for name in ("application_grpc", "upstream_grpc"))]}}

    async def __aenter__(self):
        configuration = os.path.join(self.directory.name, "envoy.json")
        with open(configuration, "w") as file:
            json.dump(self.bootstrap(), file)
        self.log = open(os.path.join(self.directory.name, "log"), "w+")
        self.process = subprocess.Popen(
            [self.binary, "-c", configuration, "--disable-hot-restart", "-l", "warning", "--concurrency", str(self.concurrency)],
            stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if "LIVE" in await self.admin("/ready"):
                    return self
            except OSError:
                pass
            await asyncio.sleep(0.02)
        self.end()
        sys.exit(f"Envoy is not ready:\n{self.log_text()}")

    async def __aexit__(self, *_):
        self.end()
        self.log.close()
        self.directory.cleanup()

    def end(self):
        self.process.terminate()
        self.process.wait()

    def log_text(self):
        self.log.flush()
        with open(self.log.name) as file:
            return file.read()[-4000:]

    async def admin(self, path):
        """All that the administration interface answers."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["admin"])
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        text = (await reader.read()).decode()
        writer.close()
        return text

    async def stats(self, like):
        """The counters and gauges whose names have `like` in them."""
        text = await self.admin(f"/stats?filter={like}")
        pairs = (line.strip().rsplit(": ", 1) for line in text.splitlines() if like in line)
        return {name: int(value) for name, value in pairs if value.isdigit()}

    async def lane_stats(self):
        return {name.removeprefix("wasmcustom.lane_"): value for name, value in (await self.stats("wasmcustom.lane_")).items()}

    async def updates(self, outcome):
        """How many updates of the filter had this outcome: `success` or `rejected`."""
        return sum((await self.stats(f"http_filter.lane.update_{outcome}")).values())

    async def update(self, module, configuration, outcome="success"):
        """Gives the filter other code or another configuration, and waits until Envoy has taken or rejected it."""
        before = await self.updates(outcome)
        self.write_extension(module, configuration)
        for _ in range(200):
            if await self.updates(outcome) > before:
                return
            await asyncio.sleep(0.02)
        sys.exit(f"Envoy does not count the update as {outcome}:\n{self.log_text()}")

    def resident(self):
        """Its resident memory in MiB."""
        with open(f"/proc/{self.process.pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

    def processor_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
