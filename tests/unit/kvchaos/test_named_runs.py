"""The tests with real servers find the run directories in what a command prints."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
from rich.console import Console

from history import layout
from history.reader import read_plan
from history.verdict import RunVerdict
from kvchaos.terminal.result_tables import CampaignRow, show_campaign, show_run
from tests.server.bench import Finished

EXAMPLE = Path(__file__).parents[3] / "examples" / "corruption-canary"
VERDICT = msgspec.json.decode((EXAMPLE / layout.VERDICT).read_bytes(), type=RunVerdict)
NAMES = ("baseline-offload-0-32-0-1129-014659-af89", "false-accounting-within-a-step-0-32-0-1129-014659-b0c1")


def named_by(console: Console) -> list[Path]:
    assert isinstance(console.file, io.StringIO)
    return [run.path for run in Finished(0, console.file.getvalue(), "").runs()]


def pipe() -> Console:
    return Console(file=io.StringIO(), width=80)


def test_run_is_found_by_its_report_path() -> None:
    console = pipe()
    show_run(console, read_plan(EXAMPLE), VERDICT, EXAMPLE)
    assert named_by(console) == [EXAMPLE]


def test_campaign_runs_are_found_by_rows_and_folder(tmp_path: Path) -> None:
    seeds = (VERDICT, msgspec.structs.replace(VERDICT, seed=99))
    for verdicts in ((VERDICT, VERDICT), seeds):
        console = pipe()
        runs = [tmp_path / name for name in NAMES]
        rows = [CampaignRow(verdict, run) for verdict, run in zip(verdicts, runs, strict=True)]
        show_campaign(console, rows, [])
        assert named_by(console) == runs


def test_a_run_that_a_campaign_shows_in_full_is_named_once(tmp_path: Path) -> None:
    console = pipe()
    runs = [tmp_path / name for name in NAMES]
    show_run(console, read_plan(EXAMPLE), VERDICT, runs[0])
    show_campaign(console, [CampaignRow(VERDICT, run) for run in runs], [])
    assert named_by(console) == runs
