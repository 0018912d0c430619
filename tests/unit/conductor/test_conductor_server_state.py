"""What the server is asked about itself: an idle server is no busy one, nor the reverse."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from history.jsonl import LineWriter
from kvchaos.conductor import server_state
from kvchaos.conductor.server_state import Gauges, gauges, health, reset_prefix_cache, settle
from kvchaos.prometheus.scraper import Scraper

REFUSAL = "INFO 11-24 block_pool.py: Failed to reset prefix cache because some blocks (3) are not freed yet\n"


class FakeServer:
    """Tells /metrics from a list (the last one stays), and answers the rest as it is told to."""

    def __init__(self, log: Path) -> None:
        self.status = 200
        self.body = b""
        self.logs = ""
        self.scrapes: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.silent = threading.Event()
        """Set: a question is taken and not answered, until the server is stopped."""
        self._stopped = threading.Event()
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.requests.append(("GET", self.path))
                if self.path == "/metrics":
                    text = fake.scrapes.pop(0) if len(fake.scrapes) > 1 else fake.scrapes[0]
                    self._answer(200, text.encode())
                else:
                    self._answer(fake.status, fake.body)

            def do_POST(self) -> None:
                fake.requests.append(("POST", self.path))
                if fake.silent.is_set():
                    fake._stopped.wait()
                    return
                with log.open("a") as file:
                    file.write(fake.logs)
                self._answer(fake.status, fake.body)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
                """Quiet."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "server.log"
    path.write_text(f"INFO ready\n{REFUSAL}")
    return path


@pytest.fixture
def server(log: Path) -> Iterator[FakeServer]:
    fake = FakeServer(log)
    yield fake
    fake.stop()


@pytest.fixture
def scraper(server: FakeServer, tmp_path: Path) -> Iterator[Scraper]:
    with LineWriter(tmp_path / "metrics.jsonl") as writer:
        made = Scraper(server.url, writer)
        yield made
        made.stop()


def metrics(running: float, tokens: float, cpu: float = 0.0, waiting: float = 0.0) -> str:
    return (
        f"process_cpu_seconds_total {cpu}\n"
        f'vllm:num_requests_running{{engine="0"}} {running}\n'
        f'vllm:num_requests_waiting{{engine="0"}} {waiting}\n'
        f'vllm:generation_tokens_total{{engine="0"}} {tokens}\n'
    )


def test_idle_server_with_constant_counters_has_settled(server: FakeServer, scraper: Scraper) -> None:
    server.scrapes = [metrics(0, 5)]
    assert settle(scraper, 10.0)
    assert len(server.requests) == 2


def test_settling_waits_until_counters_are_constant(server: FakeServer, scraper: Scraper) -> None:
    server.scrapes = [metrics(2, 5), metrics(0, 7), metrics(0, 9), metrics(0, 9)]
    assert settle(scraper, 10.0)
    assert scraper.latest() == {
        "process_cpu_seconds_total": 0.0,
        'vllm:num_requests_running{engine="0"}': 0.0,
        'vllm:num_requests_waiting{engine="0"}': 0.0,
        'vllm:generation_tokens_total{engine="0"}': 9.0,
    }
    assert len(server.requests) == 4


def test_process_metrics_may_change_in_a_settled_server(server: FakeServer, scraper: Scraper) -> None:
    server.scrapes = [metrics(0, 5, cpu=1.0), metrics(0, 5, cpu=1.1), metrics(0, 5, cpu=1.2)]
    assert settle(scraper, 10.0)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "text",
    [metrics(1, 5), metrics(0, 5, waiting=2), "process_cpu_seconds_total 1\n"],
    ids=["running", "waiting", "no gauges"],
)
def test_server_without_idle_gauges_has_not_settled(server: FakeServer, scraper: Scraper, text: str) -> None:
    server.scrapes = [text]
    assert not settle(scraper, 0.3)


def test_server_with_moving_counters_has_not_settled(server: FakeServer, scraper: Scraper) -> None:
    server.scrapes = [metrics(0, tokens) for tokens in range(1000)]
    assert not settle(scraper, 0.3)


def test_exited_server_has_not_settled_and_ends_the_wait(server: FakeServer, scraper: Scraper) -> None:
    server.stop()
    assert not settle(scraper, 1000.0)


def test_gauges_are_summed_over_engines_by_exact_name() -> None:
    samples = {
        'vllm:num_requests_running{engine="0"}': 1.0,
        'vllm:num_requests_running{engine="1"}': 2.0,
        'vllm:num_requests_waiting{engine="0"}': 0.0,
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"}': 9.0,
        "vllm:kv_cache_usage_perc": 0.25,
    }
    assert gauges(samples) == Gauges(running=3.0, waiting=0.0, kv_usage=0.25)


@pytest.mark.parametrize("samples", [None, {}, {"vllm:other": 1.0}])
def test_missing_gauge_is_none_and_not_idle(samples: dict[str, float] | None) -> None:
    assert gauges(samples) == Gauges(None, None, None)
    assert not gauges(samples).idle


def test_idle_means_no_running_and_no_waiting_request() -> None:
    assert Gauges(0, 0, None).idle
    assert not Gauges(0, 1, None).idle
    assert not Gauges(1, 0, None).idle
    assert not Gauges(0, None, 0.0).idle


@pytest.mark.parametrize("status", [200, 503])
def test_health_is_the_http_status(server: FakeServer, status: int) -> None:
    server.status = status
    assert health(server.url) == status
    assert server.requests == [("GET", "/health")]


def test_no_health_without_a_server() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        assert health(f"http://127.0.0.1:{nobody.getsockname()[1]}") is None


@pytest.mark.parametrize("success", [True, False])
def test_leak_probe_uses_the_success_field_of_the_server(
    server: FakeServer, log: Path, success: bool
) -> None:
    server.body = json.dumps({"success": success}).encode()
    probe = reset_prefix_cache(server.url, log)
    assert probe.ok is success
    assert probe.answer == server.body.decode()
    assert bool(probe.detail) is not success
    assert server.requests == [("POST", "/reset_prefix_cache")]


def test_leak_probe_with_empty_answer_and_no_refusal_in_the_log_passes(server: FakeServer, log: Path) -> None:
    server.logs = "INFO Successfully reset prefix cache\n"
    assert reset_prefix_cache(server.url, log).ok


def test_leak_probe_with_empty_answer_and_a_refusal_in_the_log_fails(server: FakeServer, log: Path) -> None:
    server.logs = f"INFO something\n{REFUSAL}"
    probe = reset_prefix_cache(server.url, log)
    assert probe.ok is False
    assert probe.detail == REFUSAL.strip()


@pytest.mark.parametrize(
    ("body", "no_json"),
    [
        (b'{"success": "true"}', False),
        (b'{"success": null}', False),
        (b'{"done": true}', False),
        (b"true", False),
        (b"false", False),
        (b"OK", True),
        (b"{", True),
    ],
)
def test_leak_probe_with_an_unexpected_answer_is_unknown(
    server: FakeServer, log: Path, body: bytes, no_json: bool
) -> None:
    server.body = body
    probe = reset_prefix_cache(server.url, log)
    assert probe.ok is None
    assert probe.answer == body.decode()
    assert ("JSON" in probe.detail) is no_json


@pytest.mark.parametrize("success", [True, False])
def test_leak_probe_refused_by_the_server_is_unknown(server: FakeServer, log: Path, success: bool) -> None:
    server.status, server.body = 404, json.dumps({"success": success}).encode()
    probe = reset_prefix_cache(server.url, log)
    assert probe.ok is None
    assert "404" in probe.detail


def test_leak_probe_timeout_is_unknown(
    server: FakeServer, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_state, "TIMEOUT_S", 0.2)
    server.silent.set()
    probe = reset_prefix_cache(server.url, log)
    assert (probe.ok, probe.answer) == (None, "")
    assert "0.2 s" in probe.detail


def test_leak_probe_of_an_exited_server_is_unknown(server: FakeServer, log: Path) -> None:
    server.stop()
    probe = reset_prefix_cache(server.url, log)
    assert probe.ok is None
    assert ConnectionRefusedError.__name__ in probe.detail
