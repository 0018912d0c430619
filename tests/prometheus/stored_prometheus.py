"""The Prometheus of a run that is over, started again on the data that it left in the run directory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_api_client import PrometheusConnect
from requests import RequestException

from history import layout
from kvchaos.prometheus.program import DATA, need_prometheus
from kvchaos.stacks.local_stack import choose_port

READY_S = 60.0


@contextmanager
def reopened(run_dir: Path, scratch: Path) -> Iterator[PrometheusConnect]:
    """It scrapes nothing any more. `scratch` gets its log."""
    port = choose_port(None)
    (scratch / "nothing.yml").write_text("global: {}\n")
    command = (
        need_prometheus(os.environ),
        f"--config.file={scratch / 'nothing.yml'}",
        f"--storage.tsdb.path={run_dir / layout.PROMETHEUS_FOLDER / DATA}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--storage.tsdb.retention.time=100y",
    )
    with (scratch / "reopened.log").open("wb") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            with PrometheusConnect(f"http://127.0.0.1:{port}", timeout=10) as api:
                _wait(api)
                yield api
        finally:
            process.terminate()


def _wait(api: PrometheusConnect) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if api.custom_query("1"):
                return
        except RequestException:
            assert time.monotonic() < deadline, "Prometheus does not answer"
        time.sleep(0.1)
