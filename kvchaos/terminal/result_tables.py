"""Verdicts on the terminal: the table of a run, the line of a run in a campaign, the table of a campaign.

A symbol and text give the verdict, colour or not. Everything is readable in 80 columns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from history import layout
from history.plan import RunPlan
from history.verdict import OracleResult, Outcome, RunVerdict, Verdict
from kvchaos.judging.outcome import ExpectationMatch, effect_text, match_expectation
from kvchaos.report.verdict_text import OUTCOME_SYMBOLS, SEAL_TEXTS, SYMBOLS, cause_lines, evidence_lines
from kvchaos.terminal.display import about, counted
from oracles.findings import oracle_of

STYLES: dict[str, str] = {
    ExpectationMatch.EXPECTED: "green",
    ExpectationMatch.NOT_EXPECTED: "bold red",
    ExpectationMatch.UNKNOWN: "yellow",
    ExpectationMatch.EXPLAINED: "green",
    ExpectationMatch.FOLLOWS: "dim",
    ExpectationMatch.IGNORED: "dim",
}
VIOLATIONS = 2
"""Shown of each oracle; verdict.json has more."""
WIDE = 110
"""Columns from which on the table of a campaign has room for the expected failures."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """The same run once more, on a fresh server: the first one had a used server and was not as expected."""

    verdict: RunVerdict
    run_dir: Path
    earlier: tuple[str, ...]
    """The runs that the used server had served before the first one."""


@dataclass(frozen=True, slots=True)
class CampaignRow:
    """One run of a campaign: its verdict and where its evidence lies."""

    verdict: RunVerdict
    run_dir: Path
    again: Repeat | None = None
    """Shown with the verdict, which alone counts."""


def show_run(console: Console, plan: RunPlan, verdict: RunVerdict, run_dir: Path) -> None:
    """The verdict of a run in full, what its terms mean, and where its report is."""
    title = f"{verdict.scenario} on {verdict.server}, seed {verdict.seed}: {outcome_text(verdict.outcome)}"
    console.print(Text(title, style=STYLES[verdict.outcome]))
    console.print(Text(plan.scenario.summary))
    console.print()
    console.print(run_table(plan, verdict))
    console.print()
    for line in legend(plan, verdict):
        console.print(Text(line, style="dim"))
    for line in cause_lines(verdict):
        console.print(Text(line))
    for effect in verdict.effects:
        if effect.explains:
            console.print(Text(effect_text(effect)))
    if verdict.outcome != "as expected" and verdict.reasons:
        console.print(Text(f"{outcome_text(verdict.outcome)}: {verdict.reasons[0]}"))
    show_path(console, "report", run_dir / layout.REPORT)


def run_table(plan: RunPlan, verdict: RunVerdict) -> Table:
    """One row an oracle: its verdict, how that compares with the expectation, its evidence."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("oracle", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("evidence", overflow="fold")
    for result in verdict.results:
        compared = match_expectation(result, plan.expectation, verdict.causes)
        # Text, not markup: evidence holds brackets of its own.
        evidence = Text("\n".join(evidence_lines(result, VIOLATIONS)))
        table.add_row(
            result.oracle, Text(_verdict_text(result, verdict, compared), style=STYLES[compared]), evidence
        )
    return table


def _verdict_text(result: OracleResult, verdict: RunVerdict, compared: ExpectationMatch) -> str:
    text = f"{SYMBOLS[result.verdict]} {result.verdict}"
    if compared in (ExpectationMatch.IGNORED, ExpectationMatch.FOLLOWS):
        return f"{text}, {'ignored' if compared is ExpectationMatch.IGNORED else 'follows'}"
    if compared is ExpectationMatch.EXPLAINED:
        return f"{text}, explained"
    if result.oracle not in verdict.expected_failures:
        return f"{text}, must fail" if result.missing else text
    return f"{text}, expected" if result.verdict is Verdict.FAIL else f"{text}, must fail"


def legend(plan: RunPlan, verdict: RunVerdict) -> Iterator[str]:
    """An explanation of each term in the table that needs one."""
    compared = {match_expectation(result, plan.expectation, verdict.causes) for result in verdict.results}
    issue = f" ({verdict.issue})" if verdict.issue else ""
    if verdict.expected_failures:
        names = ", ".join(plan.expectation.fail)
        yield f"must fail: {names}{issue}; otherwise the run is not as expected"
    if ExpectationMatch.EXPLAINED in compared:
        yield "explained: each finding is a declared effect of a fault that fired"
    if ExpectationMatch.FOLLOWS in compared:
        yield "follows: each finding is a consequence of another finding and does not count by itself"
    if ExpectationMatch.IGNORED in compared:
        yield f"ignored: the oracle may fail here, and its result does not count{issue}"
    if any(result.verdict is Verdict.UNKNOWN for result in verdict.results):
        yield "unknown: not enough data to judge; it never counts as a pass"
    if verdict.seal == "unsealed":
        yield SEAL_TEXTS[verdict.seal]


def verdict_line(row: CampaignRow, seconds: float) -> Text:
    """One run of a campaign as one line, when it has just been judged."""
    verdict = row.verdict
    text = Text(outcome_text(verdict.outcome), style=STYLES[verdict.outcome])
    text.append(f": {verdict.scenario}, seed {verdict.seed}, {about(seconds)}", style="default")
    if verdict.outcome == "as expected" and (failed := _failed(verdict)):
        text.append(f"; expected failures: {', '.join(failed)}", style="default")
    return text


def repeat_line(again: Repeat) -> str:
    """What the repetition of a run shows about the first one."""
    line = f"{outcome_text(again.verdict.outcome)} once more, on a fresh server: {again.run_dir.name}"
    if again.verdict.outcome != "as expected":
        return line
    return f"{line}; the first server had served {', '.join(again.earlier)}"


def opening_line(count: int, server: str) -> str:
    """What a campaign is going to do."""
    return f"{counted(count, 'run')} on {server}; Ctrl-C ends the current run and shows the results so far"


def left_line(count: int, seconds: float | None) -> str:
    """How many runs are left and how long they take."""
    line = f"{counted(count, 'run')} left"
    return line if seconds is None else f"{line}, about {about(seconds)}"


def show_campaign(console: Console, rows: Sequence[CampaignRow], planned: Sequence[str]) -> None:
    """All runs that were judged, which were not made, and where their evidence lies: the common folder once.

    `planned`: the scenario of each run that was planned.
    """
    console.print()
    console.print(campaign_table(rows, console.width))
    counts = Counter(row.verdict.outcome for row in rows)
    sums = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOME_SYMBOLS if counts[outcome])
    console.print(f"{counted(len(rows), 'run')} judged: {sums}", highlight=False)
    if absent := list(dict.fromkeys(planned[len(rows) :])):
        runs = counted(len(planned) - len(rows), "run")
        console.print(f"{runs} not made: {', '.join(absent)}", highlight=False)
    for folder in sorted({row.run_dir.parent for row in rows}):
        show_path(console, f"each run has a folder with {layout.REPORT} in", folder)


def campaign_table(rows: Sequence[CampaignRow], width: int) -> Table:
    """One row a run. Seeds and expected failures where they differ and there is room."""
    seeds = len({row.verdict.seed for row in rows}) > 1
    failures = width >= WIDE and any(_failed(row.verdict) for row in rows)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("outcome", no_wrap=True)
    if seeds:
        table.add_column("seed", justify="right", no_wrap=True)
    table.add_column("run", overflow="fold")
    if failures:
        table.add_column("expected failures", overflow="fold")
    for row in rows:
        verdict = row.verdict
        cells = [Text(outcome_text(verdict.outcome), style=STYLES[verdict.outcome])]
        if seeds:
            cells.append(Text(str(verdict.seed)))
        cells.append(Text(row.run_dir.name))
        if failures:
            cells.append(Text(_expected(verdict)))
        table.add_row(*cells)
        if row.again is not None:
            table.add_row(*_second_cells(row.again, seeds=seeds))
    return table


def _second_cells(again: Repeat, *, seeds: bool) -> list[Text]:
    outcome = again.verdict.outcome
    first = Text(outcome_text(outcome), style=STYLES[outcome])
    return [first, *([Text("")] if seeds else []), Text(f"{again.run_dir.name} (on a fresh server)")]


def show_path(console: Console, what: str, path: Path) -> None:
    """A path in one piece, whatever the width: it gets copied."""
    console.print(f"{what}: {path}", highlight=False, markup=False, soft_wrap=True)


def outcome_text(outcome: Outcome) -> str:
    """An outcome with its symbol."""
    return f"{OUTCOME_SYMBOLS[outcome]} {outcome}"


def _expected(verdict: RunVerdict) -> str:
    if not (failed := _failed(verdict)):
        return ""
    whys = [verdict.issue] if verdict.expected_failures else []
    whys += [f"fault {fault}" for fault in dict.fromkeys(effect.fault for effect in verdict.effects)]
    return f"{', '.join(failed)} ({', '.join(map(str, whys))})"


def _failed(verdict: RunVerdict) -> list[str]:
    """Oracles that fail in a run that is as expected: by the expectation, then by the faults' effects."""
    explained = (oracle_of(rule) for effect in verdict.effects for rule in effect.explains)
    return list(dict.fromkeys((*verdict.expected_failures, *explained)))
