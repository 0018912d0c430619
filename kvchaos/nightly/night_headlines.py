"""What the last night says in ten lines at most: the top of the page, and of the summary. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from kvchaos.nightly.night_changes import Direction, TrackedChange
from kvchaos.nightly.night_records import Night, ServerBuild
from kvchaos.nightly.night_report import NightReport, SeriesReport, signed, unsigned
from kvchaos.report.headline import MAX_LINES, Headline, Tone, listed

REASON_LENGTH = 60


def headlines(report: NightReport) -> list[Headline]:
    """The lines, the most important first."""
    lines = [
        _results(report),
        *_opened(report, "regressed"),
        *_still(report),
        *_fixed(report),
        *_opened(report, "improved"),
        *_blind(report),
        *_suspicious(report),
        *_not_counted(report),
        *_break(report),
        _machine(report.night),
    ]
    return lines[:MAX_LINES]


def _results(report: NightReport) -> Headline:
    counts = Counter(row.result for row in report.watched)
    found = ", ".join(
        f"{counts[result]} {result}"
        for result in ("regressed", "improved", "blind", "same")
        if counts[result]
    )
    text = f"{len(report.watched)} watched series: {found or 'none measured'}"
    alarms = counts["regressed"] + counts["improved"]
    if report.night.kind == "control":
        false = f"; all {alarms} changes are false alarms" if alarms else ""
        tone: Tone = "good" if counts["same"] and not alarms else "unknown"
        return Headline(tone, "Control night", f"the control against itself; {text}{false}")
    if not counts["same"] and not alarms:
        return Headline("unknown", "Result", text)
    return Headline("bad" if counts["regressed"] else "good", "Result", text)


def _opened(report: NightReport, direction: Direction) -> Iterator[Headline]:
    """Changes that the night opened."""
    new = [
        change
        for change in report.changes
        if change.opened.night == report.night.night and change.direction == direction
    ]
    if new:
        again = {id(change) for change in new if _was_fixed_before(report, change)}
        texts = [f"{_change_text(change)}{', again' if id(change) in again else ''}" for change in new]
        tone: Tone = "bad" if direction == "regressed" else "good"
        yield Headline(tone, "Regressed" if direction == "regressed" else "Improved", listed(texts))


def _was_fixed_before(report: NightReport, change: TrackedChange) -> bool:
    """Whether one of its series was in an earlier change that is fixed: the regression is back."""
    return any(
        other.state == "fixed"
        and other.direction == change.direction
        and other.opened.night < change.opened.night
        and set(other.opened.series) & set(change.opened.series)
        for other in report.changes
    )


def _still(report: NightReport) -> Iterator[Headline]:
    """Regressions of earlier nights that are neither fixed nor accepted."""
    old = [
        change
        for change in report.changes
        if change.state == "open"
        and change.direction == "regressed"
        and change.opened.night < report.night.night
    ]
    if old:
        yield Headline("bad", "Still regressed", listed([_change_text(change) for change in old]))


def _fixed(report: NightReport) -> Iterator[Headline]:
    gone = [
        change
        for change in report.changes
        if change.state == "fixed" and change.lines[-1].night == report.night.night
    ]
    if gone:
        texts = [
            f"{change.id} ({'slower' if change.direction == 'regressed' else 'faster'} no more)"
            for change in gone
        ]
        yield Headline("good", "Fixed", listed(texts))


def _change_text(change: TrackedChange) -> str:
    standing = [
        (series, step)
        for series, step in zip(change.opened.series, change.opened.slowdowns, strict=True)
        if series in change.standing
    ]
    steps = listed([f"{series} {signed(step)}" for series, step in standing])
    located = f", first in {change.first_bad}" if change.first_bad else ""
    return f"{change.id}: {steps}{located}"


def _blind(report: NightReport) -> Iterator[Headline]:
    blind = [row for row in report.watched if row.result == "blind"]
    texts = [f"{row.series} ({_blind_reason(row)})" for row in blind]
    texts += [f"{series} (not measured)" for series in report.missing]
    if texts:
        yield Headline("unknown", "Blind", listed(texts))


def _blind_reason(row: SeriesReport) -> str:
    decision = row.point.decision
    if decision is None or decision.reason is None:
        return "no reason stored"
    if decision.reason == "noise" and decision.visible_step is not None:
        return f"noise: it can show {unsigned(decision.visible_step)}"
    return decision.reason


def _suspicious(report: NightReport) -> Iterator[Headline]:
    texts = [f"{each.series} {signed(each.slowdown)} since {each.night[:10]}" for each in report.suspicions]
    if texts:
        yield Headline("unknown", "Suspicious", f"{listed(texts)}; change points, no alarm")


def _not_counted(report: NightReport) -> Iterator[Headline]:
    """Runs, measurements and lines of the history that do not count."""
    runs = [run for each in report.night.measured for run in each.excluded]
    texts = [f"{len(runs)} of the runs ({_reasons(runs)})"] if runs else []
    if not report.night.complete:
        texts.append("the budget ended before all measurements had their pairs")
    texts += report.history.left_out
    if texts:
        yield Headline("unknown", "Not counted", "; ".join(texts))


def _reasons(runs: Sequence[str]) -> str:
    """Why runs do not count, each reason once and cut to a line; the page has them whole."""
    reasons = (run.partition(": ")[2] or run for run in runs)
    cut = (f"{reason[:REASON_LENGTH]}…" if len(reason) > REASON_LENGTH else reason for reason in reasons)
    return listed(list(dict.fromkeys(cut)))


def _break(report: NightReport) -> Iterator[Headline]:
    count = len(report.breaks())
    if count and report.previous is not None:
        yield Headline(
            "note",
            "New identity",
            f"{count} series start a new history: {_differences(report.previous, report.night)}",
        )


def _differences(before: Night, after: Night) -> str:
    pairs = {
        "host": (before.machine.host, after.machine.host),
        "processor": (before.machine.processor, after.machine.processor),
        "GPUs": (", ".join(before.machine.gpus), ", ".join(after.machine.gpus)),
        "driver": (before.machine.driver, after.machine.driver),
        "control": (build_text(before.control), build_text(after.control)),
        "model": (before.model, after.model),
        "kvchaos": (before.kvchaos, after.kvchaos),
    }
    changed = [
        f"{name} {old or 'none'} to {new or 'none'}" for name, (old, new) in pairs.items() if old != new
    ]
    return "; ".join(changed) or "the scenario or its load"


def _machine(night: Night) -> Headline:
    machine = night.machine
    parts = [
        f"candidate {build_text(night.candidate)}",
        f"control {build_text(night.control)}",
        night.model,
        ", ".join(machine.gpus) or machine.processor,
        f"{night.night[:16].replace('T', ' ')} to {night.ended[11:16]} UTC",
    ]
    return Headline("note", "Measured", "; ".join(parts))


def build_text(build: ServerBuild) -> str:
    """A server in one phrase."""
    commit = f" ({build.commit[:10]})" if build.commit else ""
    name = "" if build.name == build.vllm else f"{build.name}: "
    return f"{name}vLLM {build.vllm}{commit}"
