"""The application behind the sidecar, and the service that it calls: real servers for HTTP/1.1, HTTP/2 and gRPC.

The application answers each request by one request of its own through the outbound listener, after a random pause, with
the headers that `forwards` names and never with the lane. The upstream answers with the lane that it gets.
"""
import asyncio
import itertools
import random

import grpc
import httpx

import wire

TRACE_HEADERS = ("traceparent", "tracestate", "b3", "x-b3-traceid", "uber-trace-id", "sw8", "x-datadog-trace-id",
                 "x-amzn-trace-id")
METHOD = "/lanes.Cars/Order"


class Application:
    def __init__(self, ports):
        self.ports = ports
        self.forwards = TRACE_HEADERS
        self.is_http2 = False
        self.gate = asyncio.Event()
        self.gate.set()
        # What came to the upstream, by trace header.
        self.arrived = {}

    async def __aenter__(self):
        self.servers = [await wire.serve(self.ports["application"], self.answer),
                        await wire.serve(self.ports["upstream"], self.upstream)]
        self.grpc_servers = []
        for name, behaviour in (("application_grpc", self.answer_grpc), ("upstream_grpc", self.upstream_grpc)):
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((Handler(behaviour),))
            server.add_insecure_port(f"127.0.0.1:{self.ports[name]}")
            await server.start()
            self.grpc_servers.append(server)
        self.http2 = http2_clients(4)
        self.channels = channels(self.ports["outbound_grpc"], 4)
        return self

    async def __aexit__(self, *_):
        for server in self.servers:
            server.close()
        for server in self.grpc_servers:
            await server.stop(None)

    def forwarded(self, headers):
        return [(name, value) for name, value in headers if name in self.forwards]

    async def answer(self, headers):
        await asyncio.sleep(random.random() * 0.02)
        await self.gate.wait()
        forwarded = self.forwarded(headers)
        if self.is_http2:
            return await ask_http2(next(self.http2), self.ports["outbound"], forwarded)
        found = await wire.ask(self.ports["outbound"], forwarded)
        # A sidecar whose VM starts anew answers 503 meanwhile: what is of interest is the lane after that.
        for _ in range(100):
            if "503" not in found:
                break
            await asyncio.sleep(0.1)
            found = await wire.ask(self.ports["outbound"], forwarded)
        return found

    async def upstream(self, headers):
        lane = ",".join(value for name, value in headers if name == "bu")
        for name, value in headers:
            if name == "traceparent":
                self.arrived[value] = lane
        return lane

    async def answer_grpc(self, _, context):
        await asyncio.sleep(random.random() * 0.02)
        metadata = [(name, value) for name, value in context.invocation_metadata()]
        return await ask_grpc(next(self.channels), self.forwarded(metadata))

    async def upstream_grpc(self, _, context):
        return ",".join(value for name, value in context.invocation_metadata() if name == "bu").encode()


class Handler(grpc.GenericRpcHandler):
    def __init__(self, behaviour):
        self.behaviour = behaviour

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(self.behaviour)


def channels(port, count):
    """As many connections, in turn: each is one worker's."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return itertools.cycle([grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(count)])


async def ask_grpc(channel, metadata):
    return await channel.unary_unary(METHOD)(b"", metadata=metadata, timeout=30)


def http2_clients(count):
    return itertools.cycle([httpx.AsyncClient(http1=False, http2=True, timeout=30) for _ in range(count)])


async def ask_http2(client, port, headers):
    answer = await client.get(f"http://127.0.0.1:{port}/", headers=headers)
    assert answer.http_version == "HTTP/2"
    return answer.text if answer.status_code == 200 else f"{answer.status_code}"
