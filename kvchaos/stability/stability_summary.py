"""The morning's lines about stability: what is new, back or gone, and whether the night counts. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvchaos.report.text_tables import markdown_table
from kvchaos.stability.campaign_records import StabilityNight
from kvchaos.stability.signature_states import State, TrackedSignature

CONTROLS = {
    "found": "found",
    "missed": "MISSED: the oracles did not find a planted violation, so no result of this night counts",
    "absent": "ABSENT: no run with a planted violation was judged, so the night proves nothing",
}
NAMED = 3
"""Signatures that a line names; the table has all."""


def headlines(night: StabilityNight, tracked: Sequence[TrackedSignature]) -> list[str]:
    """At most eight lines."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(night.outcomes.items()))
    lines = [
        f"{'green' if night.is_green else 'NOT GREEN'}: {night.runs} runs of {night.build} in "
        f"{night.seconds / 3600:.1f} h: {outcomes or 'none judged'}",
        f"positive control: {CONTROLS[night.positive_control]}",
    ]
    lines += [_named(state, tracked) for state in ("new", "back", "gone")]
    lines.append(_counted("unknown", night.unknown))
    lines.append(_counted("infrastructure", night.infrastructure))
    if not night.complete:
        lines.append("incomplete: the night ended before its budget")
    return lines


def _named(state: State, tracked: Sequence[TrackedSignature]) -> str:
    found = [each.signature for each in tracked if each.state == state]
    if not found:
        return f"{state}: none"
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{state}: {'; '.join(found[:NAMED])}{more}"


def _counted(name: str, counts: dict[str, int]) -> str:
    if not counts:
        return f"{name}: none"
    worst = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = "; ".join(f"{count} of {reason}" for reason, count in worst[:NAMED])
    more = f" and {len(counts) - NAMED} more" if len(counts) > NAMED else ""
    return f"{name}: {named}{more}"


def summary_markdown(night: StabilityNight, tracked: Sequence[TrackedSignature]) -> str:
    """The lines, then a table of all signatures, for a CI job."""
    heading = f"## Stability, {night.night}\n\n"
    lines = "".join(f"- {line}\n" for line in headlines(night, tracked))
    columns = ("signature", "state", "tonight", "all nights", "since", "known bugs", "reproduce")
    return f"{heading}{lines}\n{markdown_table(columns, _rows(night, tracked))}"


def _rows(night: StabilityNight, tracked: Sequence[TrackedSignature]) -> Iterator[tuple[str, ...]]:
    order: tuple[State, ...] = ("new", "back", "ongoing", "gone")
    for each in sorted(tracked, key=lambda one: (order.index(one.state), -one.tonight)):
        scenario, seed, _ = each.latest.examples[0]
        yield (
            f"`{each.signature}`",
            each.state,
            str(each.tonight),
            str(each.total),
            each.first_night[:10],
            ", ".join(each.latest.bugs) or "-",
            f"`kvchaos run {scenario} --server {each.latest.build} --seed {seed}`",
        )
