"""What the page shows of a comparison: the series, worst first, each with its chart, and the changes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kvchaos.nightly.night_changes import TrackedChange
from kvchaos.nightly.night_chart import NightAxis, NightChart, night_chart
from kvchaos.nightly.night_headlines import build_text
from kvchaos.nightly.night_records import MeasuredScenario, Night, ServerBuild
from kvchaos.nightly.night_report import (
    NightReport,
    SeriesReport,
    figure_text,
    interval,
    probability,
    signed,
    unsigned,
)
from kvchaos.nightly.page_links import PageFolders
from kvchaos.report.html.report_page import Fact

COMPARE_URL = "https://github.com/vllm-project/vllm/compare/{good}...{bad}"
BADGES = {"regressed": "fail", "still regressed": "fail", "improved": "pass", "same": "pass"}
"""Style of each rank; unknown for the others."""


@dataclass(frozen=True, slots=True)
class RunLink:
    """A pair of runs of the night, with the reports that exist."""

    name: str
    control: str | None
    candidate: str | None


@dataclass(frozen=True, slots=True)
class BuildRange:
    """The builds between which a step came in."""

    text: str
    url: str | None
    """Where both commits are known."""


@dataclass(frozen=True, slots=True)
class SeriesCard:
    """One watched series as the page shows it."""

    key: str
    """Id of its element."""
    row: SeriesReport
    badge: str
    chart: NightChart
    facts: Sequence[Fact]
    notes: Sequence[str]
    builds: BuildRange | None
    command: str | None
    links: Sequence[RunLink]


@dataclass(frozen=True, slots=True)
class ContextRow:
    """One series without an alarm."""

    series: str
    control: str
    candidate: str
    slowdown: str


@dataclass(frozen=True, slots=True)
class ExcludedRun:
    """A run that does not count."""

    run: str
    url: str | None
    """Of its report, if it exists."""
    reason: str


@dataclass(frozen=True, slots=True)
class NightPart:
    """All that the page shows of the last comparison."""

    night: Night
    candidate: str
    nights: int
    """Of the whole history."""
    first: str
    """Day of its first night."""
    cards: Sequence[SeriesCard]
    context: Sequence[ContextRow]
    changes: Sequence[TrackedChange]
    excluded: Sequence[ExcludedRun]


def night_part(report: NightReport, folders: PageFolders) -> NightPart:
    """It looks only whether the reports of the night's runs exist."""
    axis = NightAxis(report.history.nights)
    links = {each.folder: run_links(each, folders) for each in report.night.measured}
    return NightPart(
        night=report.night,
        candidate=build_text(report.night.candidate),
        nights=len(report.history.nights),
        first=report.history.nights[0].night[:10],
        cards=[
            _card(report, row, axis, links, f"series-{number}")
            for number, row in enumerate(report.watched, start=1)
        ],
        context=[context_row(row) for row in report.context],
        changes=list(reversed(report.changes)),
        excluded=[run for each in report.night.measured for run in excluded_runs(each, folders)],
    )


def _card(
    report: NightReport,
    row: SeriesReport,
    axis: NightAxis,
    links: Mapping[str, Sequence[RunLink]],
    key: str,
) -> SeriesCard:
    return SeriesCard(
        key=key,
        row=row,
        badge=BADGES.get(row.rank, "unknown"),
        chart=night_chart(row, axis),
        facts=list(series_facts(row)),
        notes=list(_notes(row)),
        builds=build_range(row, report.night),
        command=None if row.measured is None else compare_command(row.measured, report.night),
        links=links.get(row.measured.folder, ()) if row.measured is not None else (),
    )


def series_facts(row: SeriesReport) -> list[Fact]:
    """The figures of the night."""
    point, decision = row.point, row.point.decision
    facts = [
        Fact("control", figure_text(point.control, point.unit)),
        Fact("candidate", figure_text(point.candidate, point.unit)),
    ]
    if decision is not None:
        pairs = f"{len(point.screen)} + {len(point.confirm)}" if point.confirm else str(len(point.screen))
        facts += [
            Fact("slowdown", signed(decision.slowdown)),
            Fact("95 % interval", interval(decision.low, decision.high)),
            Fact("p of screen", probability(decision.screen_p)),
            Fact("p of confirmation", probability(decision.confirm_p)),
            Fact("visible step", unsigned(decision.visible_step)),
            Fact("least step", unsigned(point.least_step)),
            Fact("noise of a pair", unsigned(decision.noise)),
            Fact("pairs", pairs),
        ]
    return facts


def _notes(row: SeriesReport) -> list[str]:
    """What else a reader needs to know of a series."""
    notes = []
    decision, change = row.point.decision, row.open_change
    if decision is not None and decision.reason is not None:
        notes.append(f"{row.result}: {decision.reason}")
    if change is not None:
        opened = "tonight" if change.opened.night == row.point.night else f"since {change.opened.night[:10]}"
        located = f"; first bad build: {change.first_bad}" if change.first_bad else ""
        notes.append(f"{change.direction} {opened} ({change.id}, {signed(change.step(row.series))}){located}")
    if row.point.accepted:
        reasons = [each.accepted.reason for each in row.changes if each.accepted is not None]
        notes.append(f"accepted: {signed(row.point.accepted)}{f' ({reasons[-1]})' if reasons else ''}")
    if row.suspicion is not None:
        notes.append(
            f"suspicious: {signed(row.suspicion.slowdown)} since {row.suspicion.night[:10]}, a change point"
        )
    return notes


def build_range(row: SeriesReport, night: Night) -> BuildRange | None:
    """From the last good build to the build of the night; None where there is none, or it is the same."""
    if row.last_good is None or night.kind == "control":
        return None
    good, bad = row.last_good.candidate, night.candidate
    if good == bad:
        return None
    url = COMPARE_URL.format(good=good.commit, bad=bad.commit) if good.commit and bad.commit else None
    return BuildRange(f"{build_text(good)} .. {build_text(bad)}", url)


def compare_command(measured: MeasuredScenario, night: Night) -> str | None:
    """The command that repeats the comparison of a measurement; None where it has no pairs."""
    if not measured.pairs:
        return None
    arguments = ["kvchaos", "bench", "compare", measured.scenario]
    # Both sides of a control night are one server, which `compare` refuses.
    candidate = night.candidate if night.kind == "comparison" else ServerBuild(name="CANDIDATE", vllm="")
    arguments += ["--a", _side(night.control), "--b", _side(candidate)]
    if measured.phase is not None:
        arguments += ["--phase", measured.phase]
    if measured.rates:
        arguments += ["--rates", ",".join(f"{rate:g}" for rate in measured.rates)]
        if measured.seconds is not None:
            arguments += ["--seconds", f"{measured.seconds:g}"]
    arguments += ["--pairs", str(len(measured.pairs)), "--seed", str(measured.pairs[0].seed)]
    return shlex.join(arguments)


def _side(build: ServerBuild) -> str:
    """A side of `compare`; a server that was there before has its address as its name."""
    return f"url=http://{build.name}" if ":" in build.name else f"server={build.name}"


def run_links(measured: MeasuredScenario, folders: PageFolders) -> list[RunLink]:
    """The pairs of a measurement of which a report exists."""
    if folders.runs is None:
        return []
    found = [
        RunLink(
            name=f"{pair.stage} {pair.seed}",
            control=folders.report_url(folders.runs / measured.folder / pair.control),
            candidate=folders.report_url(folders.runs / measured.folder / pair.candidate),
        )
        for pair in measured.pairs
    ]
    return [link for link in found if link.control or link.candidate]


def excluded_runs(measured: MeasuredScenario, folders: PageFolders) -> list[ExcludedRun]:
    """The runs of a measurement that do not count."""
    found = []
    for text in measured.excluded:
        run, _, reason = text.partition(": ")
        path = None if folders.runs is None else folders.runs / measured.folder / run
        found.append(ExcludedRun(run, None if path is None else folders.report_url(path), reason))
    return found


def context_row(row: SeriesReport) -> ContextRow:
    """One line of the table of series without alarms."""
    point = row.point
    mean = sum(point.screen) / len(point.screen) if point.screen else None
    return ContextRow(
        series=row.series,
        control=figure_text(point.control, point.unit),
        candidate=figure_text(point.candidate, point.unit),
        slowdown=signed(mean),
    )
