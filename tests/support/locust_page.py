"""Locust's page over our locustfile, as `make load-ui` brings it up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2 as httpx

from tests.support.free_port import free_port

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def locust_page(folder: Path, host: str) -> Iterator[httpx.Client]:
    """Locust with its web page, spoken to as a browser would."""
    port = free_port()
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", host]
    with (folder / "locust.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--web-port", str(port)],
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
    """Start the load by the form of the Locust page."""
    form = {"user_count": "2", "spawn_rate": "2", "host": host, "workload_params": "max_output=20"}
    web.post("/swarm", data=form).raise_for_status()
