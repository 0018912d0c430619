"""The interface of a mutation, and a proxy that applies mutations to traffic between suite and server."""

from __future__ import annotations

import http.client
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from history.records import PROBE
from kvchaos.stacks.server_command import HOST

LOAD = "load"
"""The phase that mutations alter."""
STARTS_AFTER = 10
"""Responses of that phase that pass unaltered first."""
DONE = "[DONE]"
"""The last event of a stream; all others are JSON."""


class ConnectionCut(Exception):
    """The proxy closes the client's connection here."""


@dataclass(frozen=True, slots=True)
class ProxiedRequest:
    """A request from a client, before it is forwarded."""

    method: str
    path: str
    id: str
    """The X-Request-Id that the client sent; empty for requests that are no completions."""
    body: bytes
    agent: str = ""
    """The User-Agent header."""

    @property
    def of_load(self) -> bool:
        """Whether the load generator sent it."""
        return self.id.startswith(f"{LOAD}-")

    @property
    def of_prometheus(self) -> bool:
        """Whether Prometheus sent it."""
        return self.agent.startswith("Prometheus/")


@dataclass(frozen=True, slots=True)
class ProxiedResponse:
    """A response that is no event stream."""

    status: int
    content_type: str
    body: bytes


@dataclass(slots=True)
class TrafficState:
    """Counts of the traffic so far. Many request threads update it."""

    run_dir: Path
    port: int
    """The port of the server itself."""
    load_in_flight: int = 0
    load_ended: int = 0
    probes_ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, request: ProxiedRequest) -> None:
        """Count a request that begins."""
        with self._lock:
            self.load_in_flight += request.of_load

    def end(self, request: ProxiedRequest) -> None:
        """Count a request that has ended."""
        with self._lock:
            self.load_in_flight -= request.of_load
            self.load_ended += request.of_load
            self.probes_ended += request.id.startswith(f"{PROBE}-")

    @property
    def load_in_progress(self) -> bool:
        """Whether load is in flight, so that no scrape taken now is one at which a phase begins or ends."""
        return self.load_ended >= STARTS_AFTER and self.load_in_flight > 0

    @property
    def load_has_started(self) -> bool:
        """Whether enough requests of the load have ended for a mutation to begin."""
        return self.load_ended >= STARTS_AFTER


class Mutation:
    """Passes everything on unaltered. A kind of mutation overrides one of these methods."""

    def intercept(self, request: ProxiedRequest, traffic: TrafficState) -> ProxiedResponse | None:
        """A response in place of the server's; then the request is not forwarded. None: forward it."""
        return None

    def scrape(self, text: str, traffic: TrafficState) -> str:
        """Alter the text of /metrics that the suite receives."""
        return text

    def prometheus_scrape(self, text: str, traffic: TrafficState) -> str:
        """Alter the text of /metrics that Prometheus receives. May raise ConnectionCut."""
        return text

    def response(
        self, request: ProxiedRequest, response: ProxiedResponse, traffic: TrafficState
    ) -> ProxiedResponse:
        """Alter any other response that is no event stream."""
        return response

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        """Alter the data of a stream's events. May raise ConnectionCut."""
        return events


RESPONSE_TIMEOUT_S = 60.0
HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})
EVENT_STREAM = "text/event-stream"
DATA = "data: "


@contextmanager
def mutating_proxy(mutations: Sequence[Mutation], traffic: TrafficState) -> Iterator[str]:
    """Serve in front of the server; yields the base URL that clients use instead of the server's."""

    class Handler(_Handler):
        applied = tuple(mutations)
        state = traffic

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
        """A client that breaks off is no error of ours; anything else is reported as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    applied: ClassVar[tuple[Mutation, ...]]
    state: ClassVar[TrafficState]

    def do_GET(self) -> None:
        self._proxy()

    def do_POST(self) -> None:
        self._proxy()

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing: the history has it all."""

    def _proxy(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        request = ProxiedRequest(
            self.command,
            self.path,
            self.headers.get("X-Request-Id") or "",
            self.rfile.read(length),
            self.headers.get("User-Agent") or "",
        )
        self.state.begin(request)
        try:
            self._forward(request)
        except (ConnectionCut, ConnectionError, http.client.HTTPException, TimeoutError):
            # The client has gone, or is to see just this: a connection that breaks off.
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        finally:
            self.state.end(request)

    def _forward(self, request: ProxiedRequest) -> None:
        for mutation in self.applied:
            intercepted = mutation.intercept(request, self.state)
            if intercepted is not None:
                self._send(intercepted)
                return
        connection = http.client.HTTPConnection(HOST, self.state.port, timeout=RESPONSE_TIMEOUT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        try:
            connection.request(request.method, request.path, request.body or None, headers)
            self._relay(request, connection.getresponse())
        finally:
            connection.close()

    def _relay(self, request: ProxiedRequest, upstream: http.client.HTTPResponse) -> None:
        content_type = upstream.headers.get("Content-Type") or ""
        if content_type.startswith(EVENT_STREAM):
            self._stream(request, upstream, content_type)
            return
        response = ProxiedResponse(upstream.status, content_type, upstream.read())
        for mutation in self.applied:
            if request.path == "/metrics":
                change = mutation.prometheus_scrape if request.of_prometheus else mutation.scrape
                text = change(response.body.decode(), self.state)
                response = ProxiedResponse(response.status, response.content_type, text.encode())
            else:
                response = mutation.response(request, response, self.state)
        self._send(response)

    def _stream(self, request: ProxiedRequest, response: http.client.HTTPResponse, content_type: str) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        events = _event_data(response)
        for mutation in self.applied:
            events = mutation.events(request, events)
        for event in events:
            chunk = f"{DATA}{event}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, response: ProxiedResponse) -> None:
        self.send_response(response.status)
        if response.content_type:
            self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)


def _event_data(response: http.client.HTTPResponse) -> Iterator[str]:
    for raw in response:
        line = raw.decode().rstrip("\r\n")
        if line.startswith(DATA):
            yield line.removeprefix(DATA)
