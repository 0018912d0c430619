"""The Prometheus program of this machine, and the configuration of Prometheus for one run.

The same files of configuration serve a process and a container.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kvchaos.errors import UsageError
from kvchaos.tools.tool import Tool, find_tool, need_tool

VARIABLE = "KVCHAOS_PROMETHEUS"
NAME = "prometheus"
PROMETHEUS = Tool(
    name=NAME,
    title="Prometheus",
    variable=VARIABLE,
    path_names=(NAME,),
    package=NAME,
    programs=((NAME, "usr/bin/prometheus"), ("promtool", "usr/bin/promtool")),
    trial=("--version",),
)
HOW_TO_GET = PROMETHEUS.how_to_get


def find_prometheus(environ: Mapping[str, str]) -> Path | None:
    """$KVCHAOS_PROMETHEUS when it is set, else the one on the PATH, else the one in the cache, else None."""
    return find_tool(environ, PROMETHEUS)


def need_prometheus(environ: Mapping[str, str]) -> Path:
    """Raises UsageError when there is none."""
    return need_tool(environ, PROMETHEUS)


def version_of(program: Path) -> str:
    """Raises UsageError for what is no Prometheus."""
    try:
        completed = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise UsageError(f"{program}: cannot be run: {error}") from error
    match = re.match(r"prometheus, version (\S+)", completed.stdout + completed.stderr)
    if match is None:
        raise UsageError(f"{program} is not a Prometheus: {HOW_TO_GET}")
    return match[1]


SERVER_JOB = "server"
SUITE_JOB = "suite"
RUN_LABEL = "run"
"""Label of every series, so that runs in one Prometheus can be distinguished."""
CONFIG = "prometheus.yml"
RULES = "rules.yml"
DATA = "data"
"""Folder of the samples, beside the configuration."""
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
