"""Which run directories of a night are kept: those not as expected whole, the others with their verdict."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec

from history.layout import VERDICT
from history.verdict import Outcome
from kvchaos.nightly.night_records import Night
from kvchaos.stability.campaign_records import StabilityNight


class StoredOutcome(msgspec.Struct):
    """The outcome in verdict.json; its other keys do not matter."""

    outcome: Outcome


_outcomes = msgspec.json.Decoder(StoredOutcome)


def keep_runs(night: Night, runs: Path, target: Path) -> list[Path]:
    """Copy what is kept of the runs of a night; returns the run directories that were copied whole."""
    whole = []
    for run in run_directories(night, runs):
        copy = target / run.relative_to(runs)
        if outcome_of(run) == "as expected":
            copy.mkdir(parents=True, exist_ok=True)
            shutil.copy2(run / VERDICT, copy / VERDICT)
        else:
            shutil.copytree(run, copy, symlinks=True, dirs_exist_ok=True)
            whole.append(run)
    return whole


def keep_searched_runs(night: StabilityNight, runs: Path, target: Path) -> None:
    """Copy the folder of a search, which has removed what it does not keep."""
    folder = runs / night.folder
    if night.folder and folder.is_dir():
        shutil.copytree(folder, target / night.folder, symlinks=True, dirs_exist_ok=True)


def run_directories(night: Night, runs: Path) -> Iterator[Path]:
    """Of all measurements of a night."""
    for measured in night.measured:
        folder = runs / measured.folder
        if folder.is_dir():
            yield from sorted(path for path in folder.iterdir() if path.is_dir())


def outcome_of(run: Path) -> Outcome:
    """Unknown, too, where there is no verdict that can be read."""
    try:
        return _outcomes.decode((run / VERDICT).read_bytes()).outcome
    except (OSError, msgspec.MsgspecError):
        return "unknown"
