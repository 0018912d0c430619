"""A real Prometheus. Where there is none, tests/programs.py keeps these tests from the run."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kvchaos.prometheus.program import need_prometheus


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The checker that comes with Prometheus."""
    program = need_prometheus(os.environ)
    beside = program.with_name("promtool")
    found = beside if beside.exists() else shutil.which("promtool")
    assert found is not None, "promtool is not where Prometheus is"
    return Path(found)


class Target(ThreadingHTTPServer):
    """Serves a counter that grows by 1 with each scrape; while it is `broken`, errors."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scrapes = 0
        self.broken = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def text(self) -> str:
        self.scrapes += 1
        lines = (
            "process_start_time_seconds 1700000000.5",
            f'vllm:asked_total{{engine="0",model_name="tiny"}} {self.scrapes}',
            'vllm:asked_created{engine="0",model_name="tiny"} 1700000000.0',
            'vllm:broken_sum{engine="0",model_name="tiny"} NaN',
        )
        return "\n".join(lines) + "\n"


class _Handler(BaseHTTPRequestHandler):
    server: Target

    def do_GET(self) -> None:
        if self.server.broken:
            self.send_error(500)
            return
        content = self.server.text().encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object, **__: object) -> None:
        """Nothing."""


@contextmanager
def serving() -> Iterator[Target]:
    with Target() as target:
        thread = threading.Thread(target=target.serve_forever, daemon=True)
        thread.start()
        try:
            yield target
        finally:
            target.shutdown()
            thread.join()
