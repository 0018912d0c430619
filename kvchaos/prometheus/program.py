"""The Prometheus program of this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
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
        raise UsageError(f"{program} is no Prometheus: {HOW_TO_GET}")
    return match[1]
