"""A proxy on loopback that applies mutations to what passes between the suite and a server."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from kvchaos.sight.mutation import Asked, Cut, Mutation, Reply, Traffic
from kvchaos.stacks.command import HOST

ANSWER_S = 60.0
HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
EVENT_STREAM = "text/event-stream"
DATA = "data: "


@contextmanager
def mutating(mutations: Sequence[Mutation], traffic: Traffic) -> Iterator[str]:
    """Serve in front of the server; gives the address to ask instead."""

    class Handler(_Handler):
        applied = tuple(mutations)
        seen = traffic

    with _Server((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="mutating-proxy", daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    """A stream that hangs is ended by the server's end, not waited for."""
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that breaks off is no error of ours; anything else is told as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    applied: ClassVar[tuple[Mutation, ...]]
    seen: ClassVar[Traffic]

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing: the history has it all."""

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = Asked(
            self.command,
            self.path,
            self.headers.get("X-Request-Id") or "",
            self.rfile.read(length),
            self.headers.get("User-Agent") or "",
        )
        self.seen.begin(asked)
        try:
            self._answer(asked)
        except (Cut, ConnectionError, http.client.HTTPException, TimeoutError):
            # The client has gone, or is to see just this: a connection that breaks off.
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            self.seen.end(asked)

    def _answer(self, asked: Asked) -> None:
        for mutation in self.applied:
            instead = mutation.asked(asked, self.seen)
            if instead is not None:
                self._send(instead)
                return
        connection = http.client.HTTPConnection(HOST, self.seen.port, timeout=ANSWER_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            connection.request(asked.method, asked.path, asked.body or None, headers)
            self._relay(asked, connection.getresponse())
        finally:
            connection.close()

    def _relay(self, asked: Asked, response: http.client.HTTPResponse) -> None:
        content_type = response.headers.get("Content-Type") or ""
        if content_type.startswith(EVENT_STREAM):
            self._stream(asked, response, content_type)
            return
        reply = Reply(response.status, content_type, response.read())
        for mutation in self.applied:
            if asked.path == "/metrics":
                change = mutation.watch if asked.of_prometheus else mutation.scrape
                text = change(reply.body.decode(), self.seen)
                reply = Reply(reply.status, reply.content_type, text.encode())
            else:
                reply = mutation.reply(asked, reply, self.seen)
        self._send(reply)

    def _stream(self, asked: Asked, response: http.client.HTTPResponse, content_type: str) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = _data(response)
        for mutation in self.applied:
            events = mutation.events(asked, events)
        for event in events:
            chunk = f"{DATA}{event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        if reply.content_type:
            self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)


def _data(response: http.client.HTTPResponse) -> Iterator[str]:
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line.startswith(DATA):
            yield line.removeprefix(DATA)
