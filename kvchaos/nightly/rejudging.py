"""Decide about stored pairs again, to see what today's code says of earlier nights. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kvchaos.nightly.decision import Decision, decide
from kvchaos.nightly.detection_power import NO_NOISE, PairNoise, Procedure
from kvchaos.nightly.night_changes import NOISE_NIGHTS
from kvchaos.nightly.night_records import Night, NightPoint
from kvchaos.nightly.night_store import NightHistory


def differing_decisions(past: NightHistory) -> list[tuple[NightPoint, Decision]]:
    """Watched points with the decision that their pairs give now, where its result differs."""
    nights = {night.night: night for night in past.nights}
    return [
        (point, decision)
        for points in past.by_series.values()
        for point, decision in _decisions(points, nights)
        if point.decision is None or decision.result != point.decision.result
    ]


def _decisions(
    points: Sequence[NightPoint], nights: dict[str, Night]
) -> Iterator[tuple[NightPoint, Decision]]:
    """Of one series, in order of time: each night sees the noise of the nights before."""
    noises: dict[str, list[PairNoise]] = {}
    for point in points:
        earlier = noises.setdefault(point.identity, [])
        if point.least_step is not None:
            night = nights[point.night]
            plan = Procedure(screen_pairs=night.screen_pairs, confirm_pairs=night.confirm_pairs)
            noise = _sum(earlier[-NOISE_NIGHTS:])
            yield (
                point,
                decide(point.screen, point.confirm, point.least_step, plan, noise, point.accepted),
            )
        earlier.append(PairNoise.of(point.screen).plus(PairNoise.of(point.confirm)))


def _sum(noises: Sequence[PairNoise]) -> PairNoise:
    total = NO_NOISE
    for noise in noises:
        total = total.plus(noise)
    return total
