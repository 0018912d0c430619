"""Serving the metrics on loopback."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from kvchaos.errors import UsageError
from kvchaos.exporter.collector import KvchaosCollector
from kvchaos.exporter.live_state import LiveRunState
from kvchaos.stacks.command import HOST


class HttpExporter:
    """Serves /metrics from `start` to `stop`."""

    def __init__(self, state: LiveRunState, port: int) -> None:
        self._state = state
        self._port = port
        self._serving: tuple[WSGIServer, threading.Thread] | None = None

    def start(self) -> None:
        """Raises UsageError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(KvchaosCollector(self._state))
        try:
            self._serving = start_http_server(self._port, HOST, registry)
        except OSError as error:
            raise UsageError(f"the suite's metrics: port {self._port}: {error.strerror}") from error

    def stop(self) -> None:
        """Safe to repeat."""
        if self._serving is None:
            return
        server, thread = self._serving
        server.shutdown()
        server.server_close()
        thread.join()
        self._serving = None
