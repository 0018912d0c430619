"""The runs of one night with the verdict of each oracle, from the folder of the night."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from history.verdict import RunVerdict, Verdict
from kvchaos.stability.campaign_log import read_log
from kvchaos.stability.campaign_records import CampaignRun, NightDate
from kvchaos.stability.stability_report import run_verdicts

STARTED = re.compile(r"-(\d{4}-\d{6})-[0-9a-f]+$")
"""Month, day and time at the end of a run's name, UTC."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run of the log."""

    logged: CampaignRun
    start_s: int
    """Seconds since the epoch."""
    verdicts: Mapping[str, Verdict]
    """By oracle; empty where the run has no stored verdict."""


@dataclass(frozen=True, slots=True)
class CampaignResults:
    """All judged runs of a night, in order of time."""

    name: str
    """Name of its folder."""
    night: NightDate
    server: str
    """Name of the server environment."""
    build: str
    """Version of vLLM."""
    runs: Sequence[JudgedRun]


def read_campaign(folder: Path) -> CampaignResults:
    """The runs of a night with their verdicts. Raises UsageError with file and problem."""
    log = read_log(folder)
    begin = datetime.fromisoformat(log.header.night)
    verdicts = run_verdicts(folder, log.runs)
    runs, before_s = [], 0.0
    for run in log.runs:
        start = run_start(run.run, begin) or begin + timedelta(seconds=before_s)
        runs.append(JudgedRun(run, round(start.timestamp()), _by_oracle(verdicts.get(run.run))))
        before_s += run.seconds
    header = log.header
    return CampaignResults(folder.resolve().name, header.night, header.server, header.build, runs)


def run_start(run: str, night: datetime) -> datetime | None:
    """Start of a run by its name, which has no year; None: the name has no time."""
    found = STARTED.search(run)
    if found is None:
        return None
    moments = (
        datetime.strptime(f"{year}{found[1]}", "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
        for year in (night.year, night.year + 1)
    )
    return next((moment for moment in moments if moment > night - DAY), None)


def _by_oracle(verdict: RunVerdict | None) -> dict[str, Verdict]:
    return {result.oracle: result.verdict for result in verdict.results} if verdict else {}
