"""Verdicts on a terminal: readable without colour and in 80 columns, and no evidence is changed or cut."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from history.expected_findings import Expectation
from history.verdict import Outcome, RunVerdict
from kvchaos.judging.judge_run import judge
from kvchaos.terminal.result_tables import CampaignRow, left_line, show_campaign, show_run, verdict_line
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import make_plan

SEED_BUG = Expectation(releases=">=0.16", fail=("counters",), collateral=("logs",), issue="vllm#36533")
REFUSED = "ValueError: Counters can only be incremented by non-negative amounts."
RUNS = Path("/var/lib/some/folder/of/a/user/with/a/long/name/runs")


def console(width: int) -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=width, color_system=None), text


def seed_bug_run() -> Run:
    run = clean_run(make_plan(expectation=SEED_BUG))
    run.log[2] = REFUSED
    return run


def shown(run: Run, width: int = 160, run_dir: Path = RUNS / "one") -> str:
    to, text = console(width)
    history = run.history()
    show_run(to, history.plan, judge(history), run_dir)
    return text.getvalue()


def verdict(outcome: Outcome = "as expected", seed: int = 7, **changes: object) -> RunVerdict:
    made = msgspec.structs.replace(judge(clean_run().history()), outcome=outcome, seed=seed)
    return msgspec.structs.replace(made, **changes)


def campaign(rows: list[CampaignRow], width: int = 80, absent: tuple[str, ...] = ()) -> list[str]:
    to, text = console(width)
    show_campaign(to, rows, [*(row.verdict.scenario for row in rows), *absent])
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_a_run_shows_its_verdicts_without_colour() -> None:
    run = seed_bug_run()
    run.drop_events("leak_probe")
    record = run.change_request(4, finish_reason="abort")
    text = shown(run)
    assert "✗ not as expected" in text
    assert "✗ fail, expected" in text
    assert "✗ fail, ignored" in text
    assert "? unknown" in text
    assert "✓ pass" in text
    assert record.id in text
    assert "server.log line 3" in text


def test_technical_terms_get_an_explanation() -> None:
    run = seed_bug_run()
    run.drop_events("leak_probe")
    text = shown(run)
    for label in ("must fail: counters (vllm#36533)", "ignored: ", "unknown: "):
        assert label in text


def test_clean_run_has_no_explanation_lines() -> None:
    text = shown(clean_run())
    assert not any(label in text for label in ("must fail:", "ignored:", "unknown:"))


def test_an_oracle_that_should_have_failed_and_passes_is_marked() -> None:
    assert "✓ pass, must fail" in shown(clean_run(make_plan(expectation=SEED_BUG)))


def test_the_table_shows_brackets_of_evidence_as_they_are() -> None:
    run = clean_run()
    run.log[2] = "AssertionError [bold] [/red]"
    assert "[bold] [/red]" in shown(run)


def test_oracle_and_verdict_fit_80_columns_unwrapped() -> None:
    lines = shown(seed_bug_run(), width=80).splitlines()
    assert max(map(len, lines[:-1])) <= 80
    assert any(line.startswith("faults-fired") for line in lines)
    assert any("✗ fail, expected  " in line for line in lines)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_report_is_named_in_one_piece_whatever_the_path(width: int) -> None:
    run_dir = RUNS / "[bold]x" / ("y" * 100)
    assert shown(clean_run(), width, run_dir).splitlines()[-1] == f"report: {run_dir}/report.html"


def test_the_common_folder_of_a_campaign_is_named_once() -> None:
    rows = [CampaignRow(verdict(), RUNS / f"run-{number}") for number in range(28)]
    lines = campaign(rows)
    assert sum(str(RUNS) in line for line in lines) == 1
    assert lines[-1].endswith(f": {RUNS}")
    assert [line.split()[-1] for line in lines if line.startswith("✓")] == [row.run_dir.name for row in rows]


def test_a_campaign_fits_80_columns_with_the_longest_names() -> None:
    """A run directory is named by 43 characters of scenario and server, date, time and a random part."""
    name = "x" * 43 + "-1129-013624-e778"
    rows = [CampaignRow(verdict("not as expected", reasons=["short"]), RUNS / name)]
    lines = campaign(rows)
    assert max(map(len, lines[:-1])) <= 80
    assert any(line.startswith("✗ not as expected") and line.endswith(name) for line in lines)


def test_campaign_counts_outcomes_and_skipped_runs() -> None:
    outcomes: list[Outcome] = ["as expected", "as expected", "unknown"]
    rows = [CampaignRow(verdict(outcome), RUNS / outcome) for outcome in outcomes]
    lines = campaign(rows, absent=("aborts", "aborts", "evict-storm"))
    assert "3 runs judged: 2 as expected, 1 unknown" in lines
    assert "3 runs not made: aborts, evict-storm" in lines


@pytest.mark.parametrize(("seeds", "columns"), [((1, 1), 0), ((1, 2), 1)])
def test_seeds_are_shown_where_they_differ(seeds: tuple[int, int], columns: int) -> None:
    rows = [CampaignRow(verdict(seed=seed), RUNS / str(seed)) for seed in seeds]
    assert campaign(rows)[1].split().count("seed") == columns


def test_wide_campaign_table_names_expected_failures() -> None:
    rows = [CampaignRow(judge(seed_bug_run().history()), RUNS / "one")]
    assert any(line.endswith("counters (vllm#36533)") for line in campaign(rows, width=200))


def test_campaign_verdict_is_one_line_with_its_expected_failure() -> None:
    row = CampaignRow(judge(seed_bug_run().history()), RUNS / "one")
    assert (
        verdict_line(row, 58.0).plain == "✓ as expected: synthetic, seed 7, 60 s; expected failures: counters"
    )
    other = CampaignRow(verdict("not as expected"), RUNS / "two")
    assert verdict_line(other, 58.0).plain == "✗ not as expected: synthetic, seed 7, 60 s"


@pytest.mark.parametrize(
    ("count", "seconds", "line"),
    [
        (27, 840.0, "27 runs left, about 14 min"),
        (1, 42.0, "1 run left, about 45 s"),
        (2, None, "2 runs left"),
    ],
)
def test_remaining_runs_and_time_are_shown(count: int, seconds: float | None, line: str) -> None:
    assert left_line(count, seconds) == line
