"""Serving the metrics on loopback."""

from __future__ import annotations

import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from kvchaos.errors import UsageError
from kvchaos.exporter.board import Board
from kvchaos.exporter.families import Families
from kvchaos.stacks.command import HOST


class Exporter:
    """Answers /metrics from `start` to `stop`."""

    def __init__(self, board: Board, port: int) -> None:
        self._board = board
        self._port = port
        self._serving: tuple[WSGIServer, threading.Thread] | None = None

    def start(self) -> None:
        """Raises UsageError when the port is taken."""
        registry = CollectorRegistry()
        registry.register(Families(self._board))
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
