"""What the signatures of tonight are against the nights before: new, ongoing, back or gone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kvchaos.stability.campaign_records import SignatureCount, StabilityNight

State = Literal["new", "back", "ongoing", "gone"]
"""new: never before. back: before, but not on the last nights. gone: for so many nights not shown."""
QUIET_NIGHTS = 7
"""A signature that so many nights in a row did not show is gone."""


@dataclass(frozen=True, slots=True)
class TrackedSignature:
    """A signature over all nights."""

    signature: str
    state: State
    first_night: str
    last_night: str
    tonight: int
    """Runs of the last night that have it."""
    total: int
    """Runs of all nights."""
    counts: Sequence[SignatureCount]
    """In order of time."""

    @property
    def latest(self) -> SignatureCount:
        """The line of the last night that shows it."""
        return self.counts[-1]


def track_signatures(
    nights: Sequence[StabilityNight], counts: Sequence[SignatureCount]
) -> list[TrackedSignature]:
    """State of each signature after the last night; without those that are gone for longer.

    What nothing explains has a state of its own: two bugs may have one signature, and only one be known.
    """
    dates = sorted({night.night for night in nights})
    if not dates:
        return []
    position = {date: index for index, date in enumerate(dates)}
    by_signature: dict[tuple[str, bool], list[SignatureCount]] = {}
    for count in sorted(counts, key=lambda each: each.night):
        by_signature.setdefault((count.signature, count.unexplained), []).append(count)
    tracked = [_track(name, lines, position) for (name, _), lines in by_signature.items()]
    return [each for each in tracked if each is not None]


def _track(name: str, lines: list[SignatureCount], position: dict[str, int]) -> TrackedSignature | None:
    last = len(position) - 1
    shown = sorted({position[line.night] for line in lines})
    state = _state(shown, last)
    if state is None:
        return None
    return TrackedSignature(
        signature=name,
        state=state,
        first_night=lines[0].night,
        last_night=lines[-1].night,
        tonight=sum(line.count for line in lines if position[line.night] == last),
        total=sum(line.count for line in lines),
        counts=lines,
    )


def _state(shown: list[int], last: int) -> State | None:
    """Of a signature that these nights show, by their positions; None: gone before."""
    quiet = last - shown[-1]
    if quiet >= QUIET_NIGHTS:
        return "gone" if quiet == QUIET_NIGHTS else None
    if quiet > 0:
        return "ongoing"
    if len(shown) == 1:
        return "new"
    return "back" if shown[-1] - shown[-2] > QUIET_NIGHTS else "ongoing"
