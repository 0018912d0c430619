"""What a night of the search for failures says: at most eight lines, and a table of its signatures. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from kvchaos.report.headline import Headline, Tone, headlines_markdown, listed
from kvchaos.report.text_tables import cell_text, markdown_table
from kvchaos.stability.campaign_records import ControlResult, StabilityNight, UsageSlope
from kvchaos.stability.signature_states import State, TrackedSignature
from kvchaos.stability.stability_report import StabilityReport
from kvchaos.stability.usage_slopes import slope_text
from kvchaos.triage.failure_repeats import RepeatResult

CONTROLS: dict[ControlResult, tuple[Tone, str]] = {
    "found": ("good", "found"),
    "missed": (
        "bad",
        "missed: the oracles did not find a planted violation, so no result of this night counts",
    ),
    "absent": ("bad", "absent: no run with a planted violation was judged, so the night proves nothing"),
}
LABELS: dict[State, str] = {"new": "New", "back": "Back", "gone": "Gone"}
COLUMNS = (
    "signature",
    "state",
    "tonight",
    "all nights",
    "since",
    "repeats",
    "known bugs",
    "issue",
    "reproduce",
)


def stability_headlines(report: StabilityReport) -> list[Headline]:
    """The lines, in order: the result, the positive control, signatures, runs without a result."""
    night = report.night
    tone, control = CONTROLS[night.positive_control]
    return [
        _result(night),
        Headline(tone, "Positive control", control),
        *_signatures(report.tracked),
        *_without_result(night),
        *_slopes(night),
    ]


def _result(night: StabilityNight) -> Headline:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(night.outcomes.items()))
    green = "green" if night.is_green else "not green"
    made = f"{night.runs} runs of {night.server_name} in {night.seconds / 3600:.1f} h"
    text = f"{green}: {made}: {outcomes or 'none judged'}"
    if night.outcomes.get("not as expected"):
        return Headline("bad", "Stability", text)
    return Headline("good" if night.is_green else "unknown", "Stability", text)


def _signatures(tracked: Sequence[TrackedSignature]) -> Iterator[Headline]:
    by_state: dict[State, list[TrackedSignature]] = {}
    for each in tracked:
        by_state.setdefault(each.state, []).append(each)
    for state, label in LABELS.items():
        if found := by_state.get(state):
            tone: Tone = "good" if state == "gone" else _tone(found)
            yield Headline(tone, label, listed([signature_text(each) for each in found]))
    ongoing = [each for each in by_state.get("ongoing", []) if each.tonight]
    if ongoing:
        names = listed([signature_text(each) for each in ongoing])
        yield Headline("bad" if _tone(ongoing) == "bad" else "note", "Ongoing", names)
    elif not by_state:
        yield Headline("good", "Signatures", "none")


def _tone(found: Sequence[TrackedSignature]) -> Tone:
    """A signature that a known bug explains is no surprise."""
    return "bad" if any(each.latest.unexplained for each in found) else "note"


def signature_text(each: TrackedSignature) -> str:
    """A signature, with the known bugs that explain it, and what its repeats say."""
    notes = [*each.latest.bugs, *([repeats_text(each.latest.repeats)] if each.latest.repeats else [])]
    return f"{each.signature} ({', '.join(notes)})" if notes else each.signature


def repeats_text(result: RepeatResult | None) -> str:
    """Always, flaky or not again, with counts; a dash without repeats."""
    if result is None:
        return "-"
    text = f"{result.occurrence}: {result.with_faults.shown} of {result.with_faults.runs} repeats"
    if result.only_with_faults is None:
        return text
    return f"{text}, {'only with its faults' if result.only_with_faults else 'without its faults, too'}"


def _slopes(night: StabilityNight) -> Iterator[Headline]:
    """Those that grow, or else that none does."""
    if growing := [slope_text(slope) for slope in night.slopes if slope.grows]:
        yield Headline("bad", "Grows", listed(growing))
    elif night.slopes:
        longest = max(slope.hours for slope in night.slopes)
        yield Headline("good", "Slopes", f"nothing grows, on one server for up to {longest:.2f} h")


def _without_result(night: StabilityNight) -> Iterator[Headline]:
    """Runs that say nothing, and a night that was too short."""
    texts = []
    if night.unknown:
        texts.append(_counted(night.unknown))
    if night.infrastructure:
        texts.append(f"infrastructure: {_counted(night.infrastructure)}")
    if not night.complete:
        texts.append("the night ended before its budget")
    if texts:
        yield Headline("unknown", "Unknown", "; ".join(texts))


def _counted(counts: dict[str, int]) -> str:
    """The most frequent reasons first."""
    worst = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return listed([f"{count} of {reason}" for reason, count in worst])


def stability_markdown(report: StabilityReport) -> str:
    """The lines, then a table of all signatures, for a CI job."""
    lines = "".join(headlines_markdown(stability_headlines(report)))
    table = slope_table(report.night)
    slopes = f"\n### Slopes\n\n{table}" if table else ""
    return f"## Stability, {report.night.night}\n\n{lines}\n{signature_table(report)}{slopes}"


def slope_table(night: StabilityNight) -> str:
    """All slopes in Markdown; empty for a night without."""
    if not night.slopes:
        return ""
    columns = ("scenario", "figure", "first", "per hour", "95 % interval", "runs", "hours", "grows")
    return markdown_table(columns, (slope_cells(slope) for slope in night.slopes))


def slope_cells(slope: UsageSlope) -> tuple[str, ...]:
    """One row of the table of slopes."""
    return (
        slope.scenario,
        slope.figure,
        f"{slope.first:.4g} {slope.unit}",
        f"{slope.per_hour:+.3g}",
        f"{slope.low:+.3g} to {slope.high:+.3g}",
        str(slope.runs),
        f"{slope.hours:.2f}",
        "yes" if slope.grows else "no",
    )


def signature_table(report: StabilityReport) -> str:
    """All signatures in Markdown."""
    return markdown_table(COLUMNS, (_cells(each, report) for each in report.tracked))


def _cells(each: TrackedSignature, report: StabilityReport) -> tuple[str, ...]:
    return (
        cell_text(each.signature),
        each.state,
        str(each.tonight),
        str(each.total),
        each.first_night[:10],
        repeats_text(each.latest.repeats),
        cell_text(", ".join(each.latest.bugs)) or "-",
        cell_text(report.links.issue(each.signature) or "-"),
        f"`{cell_text(repeat_command(each))}`",
    )


def repeat_command(each: TrackedSignature) -> str:
    """The command that runs the latest example of a signature again."""
    scenario, seed, _ = each.latest.examples[0]
    return shlex.join(["kvchaos", "run", scenario, "--server", each.latest.server_name, "--seed", str(seed)])
