"""By hand, a wrong target or a mistyped parameter must not look like a load test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from loadtests.target import loopback_url
from tests.fakes.openai_server import FakeServer
from tests.support.locust_page import locust_page, start

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


def test_locustfile_sends_endless_load_and_reports_to_locust() -> None:
    with FakeServer() as server:
        done = locust(
            "--host",
            server.url,
            *("--users", "3", "--spawn-rate", "3", "--run-time", "10s"),
            *("--workload", "unique", "--workload-params", "prompt_tokens=32 max_output=20"),
            *("--served-model", "other"),
        )
    assert done.returncode == 0, done.stderr
    assert all(row in done.stderr for row in ("TTFT (ms)", "TPOT (ms)", "E2EL (ms)", "tokens (count)"))
    assert {len(request.body["prompt"]) for request in server.received} == {32}
    assert {request.body["model"] for request in server.received} == {"other"}
    assert len(server.received) > 3


def rows(web: httpx.Client) -> set[str]:
    return {row["name"] for row in web.get("/stats/requests").json()["stats"]}


def test_a_target_typed_into_the_page_is_checked_too(tmp_path: Path) -> None:
    log = tmp_path / "locust.log"
    with FakeServer() as server, locust_page(tmp_path, server.url) as web:
        start(web, "http://192.0.2.1:8000")
        deadline = time.monotonic() + 60
        while "192.0.2.1" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert rows(web) == {"Aggregated"}
    assert server.received == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--host", "http://192.0.2.1:8000"), "192.0.2.1"),
        (("--host", "http://127.0.0.1:1", "--workload-params", "prefixs=3"), "prefixs"),
        (("--host", "http://127.0.0.1:1", "--workload-params", "prefixes"), "write name=value"),
    ],
)
def test_invalid_command_line_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = locust(*arguments, "--users", "1", "--run-time", "1s")
    assert done.returncode == 3
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_locust_processes_send_each_request_once() -> None:
    # In another process, since Locust changes the standard library where it is imported.
    code = """
from itertools import islice
from history.scenario import WorkloadSpec
from loadtests.locustfile import numbers
from loadtests.workloads import build
asks = build(WorkloadSpec(kind="unique", params={}), "asks", 1)
print([list(islice(numbers(asks, worker, 2), 4)) for worker in (0, 1)])
numbers(asks, 2, 2)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[[0, 2, 4, 6], [1, 3, 5, 7]]"
    assert "worker 3" in done.stderr
    assert "--expect-workers" in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000"])
def test_local_target_addresses_are_accepted(url: str) -> None:
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
def test_remote_target_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="target"):
        loopback_url(url)
