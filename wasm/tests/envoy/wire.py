"""HTTP/1.1 as far as the tests need it: headers as they are written, two of one name and bytes that are no text included."""
import asyncio


async def read(reader):
    """The first line, the headers in their order and the body of a message that has a content-length, or no body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin1").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.lower(), value.strip()))
    body = await reader.readexactly(int(dict(headers).get("content-length", 0)))
    return lines[0], headers, body


async def ask(port, headers):
    """One GET on a connection of its own, so that any worker may get it; the body, or the first line where that is not 200's."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        writer.write(f"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n".encode("latin1"))
        first, _, body = await read(reader)
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        return f"no answer: {error}"
    finally:
        writer.close()
    return body.decode() if " 200 " in first else first


def serve(port, answer):
    """A server whose answer to each request, from its headers, is `answer`'s text."""
    async def connection(reader, writer):
        try:
            while True:
                _, headers, _ = await read(reader)
                body = (await answer(headers)).encode("latin1")
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            writer.close()
    return asyncio.start_server(connection, "127.0.0.1", port, backlog=4096, limit=1 << 20)
