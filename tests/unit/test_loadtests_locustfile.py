"""By hand, a wrong target or a mistyped parameter must not look like a load test."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx
import pytest

from loadtests.target import loopback_url
from tests.fakes.openai_server import FakeServer

ROOT = Path(__file__).resolve().parents[2]


def locust(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless"]
    return subprocess.run(
        [*command, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_it_sends_endless_load_and_fills_locusts_tables() -> None:
    with FakeServer() as server:
        done = locust(
            "--host",
            server.url,
            *("--users", "3", "--spawn-rate", "3", "--run-time", "10s"),
            *("--workload", "unique", "--workload-params", "prompt_tokens=32 max_output=20"),
            *("--served-model", "other"),
        )
    assert done.returncode == 0, done.stderr
    assert all(row in done.stderr for row in ("TTFT (ms)", "ITL", "total (ms)", "tokens (count)"))
    assert {len(seen.body["prompt"]) for seen in server.seen} == {32}
    assert {seen.body["model"] for seen in server.seen} == {"other"}
    assert len(server.seen) > 3


@contextmanager
def page(tmp_path: Path, host: str) -> Iterator[httpx.Client]:
    """Locust with its web page, spoken to as a browser would."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", host]
    with (tmp_path / "locust.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--web-host", "127.0.0.1", "--web-port", str(port)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stderr=log,
        )
    patient = httpx.HTTPTransport(retries=8)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=patient) as web:
            web.get("/").raise_for_status()
            yield web
    finally:
        process.terminate()
        process.wait(60)


def start(web: httpx.Client, host: str) -> None:
    form = {"user_count": "2", "spawn_rate": "2", "host": host, "workload_params": "max_output=20"}
    web.post("/swarm", data=form).raise_for_status()


def rows(web: httpx.Client) -> set[str]:
    return {row["name"] for row in web.get("/stats/requests").json()["stats"]}


def test_locusts_page_shows_ttft_itl_total_and_tokens(tmp_path: Path) -> None:
    wanted = {"TTFT (ms)", "ITL, mean of a request (ms)", "total (ms)", "tokens (count)"}
    with FakeServer() as server, page(tmp_path, server.url) as web:
        start(web, server.url)
        deadline = time.monotonic() + 60
        while not wanted <= rows(web):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert {seen.body["max_tokens"] for seen in server.seen} <= set(range(16, 21))


def test_a_target_typed_into_the_page_is_checked_too(tmp_path: Path) -> None:
    log = tmp_path / "locust.log"
    with FakeServer() as server, page(tmp_path, server.url) as web:
        start(web, "http://192.0.2.1:8000")
        deadline = time.monotonic() + 60
        while "not on this machine" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert rows(web) == {"Aggregated"}
    assert server.seen == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "http://192.0.2.1:8000"), "not on this machine"),
        (("--host", "http://127.0.0.1:1", "--workload-params", "prefixs=3"), "prefixs"),
        (("--host", "http://127.0.0.1:1", "--workload-params", "prefixes"), "write name=value"),
    ],
)
def test_a_wrong_command_line_ends_with_one_clear_line(arguments: tuple[str, ...], message: str) -> None:
    done = locust(*arguments, "--users", "1", "--run-time", "1s")
    assert done.returncode == 3
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000"])
def test_addresses_of_this_machine_are_taken(url: str) -> None:
    assert loopback_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8000",
        "http://example.org",
        "http://127.0.0.1.example.org",
        "https://127.0.0.1:8000",
        "127.0.0.1:8000",
        "http://127.0.0.1:8000/v1",
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="target"):
        loopback_url(url)
