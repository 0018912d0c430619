"""The configuration of Prometheus for one run. The same files serve a process and a container."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

SERVER_JOB = "server"
SUITE_JOB = "suite"
RUN_LABEL = "run"
"""On every series, so that runs in one Prometheus can be distinguished."""
CONFIG = "prometheus.yml"
RULES = "rules.yml"
SOURCE = Path(__file__).parents[2] / "compose" / "prometheus"
"""compose/ is next to the packages, in a checkout and in an installation alike."""


@dataclass(frozen=True, slots=True)
class ScrapeTargets:
    """The targets that Prometheus scrapes, as host:port as seen from its own network."""

    server: str
    suite: str


def write_config(folder: Path, run_id: str, targets: ScrapeTargets) -> Path:
    """Write all that Prometheus reads into a folder; returns the path of its main file. Raises OSError."""
    folder.mkdir(exist_ok=True)
    for name in (CONFIG, RULES):
        shutil.copyfile(SOURCE / name, folder / name)
    for job, target in ((SERVER_JOB, targets.server), (SUITE_JOB, targets.suite)):
        content = [{"targets": [target], "labels": {RUN_LABEL: run_id}}]
        (folder / f"{job}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / CONFIG
