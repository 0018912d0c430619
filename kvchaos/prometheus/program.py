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

import yaml

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
VERSION_S = 60.0
"""A loaded machine reads the program, of more than 100 MB, from its disk."""


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
            [program, "--version"], capture_output=True, text=True, check=True, timeout=VERSION_S
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
DOCS_VARIABLE = "KVCHAOS_DOCS_URL"
"""URL of a copy of docs/ for the runbook links of the alerts."""
DATA = "data"
"""Folder of the samples, beside the configuration."""
SOURCE = Path(__file__).parents[2] / "compose" / "prometheus"
"""compose/ is next to the packages, in a checkout and in an installation alike."""


@dataclass(frozen=True, slots=True)
class ScrapeTargets:
    """The targets that Prometheus scrapes, as host:port as seen from its own network."""

    server: str
    suite: str


def write_config(folder: Path, run_id: str, targets: ScrapeTargets, docs_url: str | None = None) -> Path:
    """Write all that Prometheus reads into a folder; returns the path of its main file. Raises OSError.

    `docs_url`: URL of a copy of docs/, to which the alerts then link instead of the folder of a checkout.
    """
    folder.mkdir(exist_ok=True)
    shutil.copyfile(SOURCE / CONFIG, folder / CONFIG)
    rules = (SOURCE / RULES).read_text(encoding="utf-8")
    (folder / RULES).write_text(rules_with_urls(rules, docs_url) if docs_url else rules, encoding="utf-8")
    for job, target in ((SERVER_JOB, targets.server), (SUITE_JOB, targets.suite)):
        content = [{"targets": [target], "labels": {RUN_LABEL: run_id}}]
        (folder / f"{job}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder / CONFIG


def rules_with_urls(rules: str, docs_url: str) -> str:
    """The rules with the URL of each runbook instead of its path in a checkout."""
    content = yaml.safe_load(rules)
    for group in content["groups"]:
        for rule in group["rules"]:
            path = rule["annotations"]["runbook_url"].removeprefix("docs/")
            rule["annotations"]["runbook_url"] = f"{docs_url.rstrip('/')}/{path}"
    return yaml.safe_dump(content, sort_keys=False)
