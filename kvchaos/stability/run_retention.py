"""What stays of the runs of a night: a few of each signature whole, the verdict of all others."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from history import layout
from kvchaos.errors import UsageError
from kvchaos.stability.campaign_records import CampaignRun
from kvchaos.stability.night_counts import kept_runs


def keep_verdicts_only(folder: Path, runs: Sequence[CampaignRun]) -> int:
    """Remove all but the verdict of runs that are not kept. Returns their number. Raises UsageError."""
    kept = kept_runs(runs)
    reduced = [folder / run.run for run in runs if run.run not in kept]
    try:
        for run_dir in reduced:
            _reduce(run_dir)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be removed: {error.strerror}") from error
    return len(reduced)


def _reduce(run_dir: Path) -> None:
    if not run_dir.is_dir():
        return
    for path in run_dir.iterdir():
        if path.name == layout.VERDICT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
