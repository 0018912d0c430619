"""The stability history as OpenMetrics, next to the nights of `kvchaos nightly`.

A night of `kvchaos soak` is one sample of each metric, at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import get_args

from history.verdict import Outcome
from kvchaos.openmetrics_text import GaugeFamily, TimedSample, label_text
from kvchaos.stability.campaign_records import SignatureCount, StabilityNight
from kvchaos.stability.signature_states import State, track_signatures
from kvchaos.stability.stability_store import StabilityHistory

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
STATES: tuple[State, ...] = get_args(State)
CountsOf = Callable[[StabilityNight], Mapping[str, int]]


def soak_families(history: StabilityHistory) -> Iterator[GaugeFamily]:
    """All metrics of the stability history. Without nights there are none."""
    if not history.nights:
        return
    yield GaugeFamily(
        "kvchaos_soak_info",
        "Always 1. The labels name build and result of the positive control.",
        _sorted(
            ({"build": night.build, "positive_control": night.positive_control}, 1.0, night.night)
            for night in history.nights
        ),
    )
    yield GaugeFamily(
        "kvchaos_soak_duration_seconds",
        "Duration of all runs of the night.",
        _sorted(({}, night.seconds, night.night) for night in history.nights),
        "seconds",
    )
    for name, text, label, counts_of in COUNTS:
        yield GaugeFamily(f"kvchaos_soak_{name}", text, _counted(history.nights, label, counts_of))
    yield GaugeFamily(
        "kvchaos_soak_signature_runs",
        "Runs of the night that have the signature.",
        _sorted((signature_labels(each), float(each.count), each.night) for each in history.signatures),
    )
    yield GaugeFamily(
        "kvchaos_soak_signature_state",
        "1 for the state of the signature after the night, 0 for the others.",
        _sorted(_states(history)),
    )


COUNTS: tuple[tuple[str, str, str, CountsOf], ...] = (
    (
        "runs",
        "Runs of the night by outcome, without those that say nothing about the server.",
        "outcome",
        lambda night: {outcome: night.outcomes.get(outcome, 0) for outcome in OUTCOMES},
    ),
    (
        "category_runs",
        "Runs of the night by the reason why they were made.",
        "category",
        lambda night: {str(name): count for name, count in night.categories.items()},
    ),
    (
        "infrastructure_runs",
        "Runs that say nothing about the server, by category.",
        "category",
        lambda night: night.infrastructure,
    ),
    ("unknown_runs", "Other unknown runs, by their reason.", "reason", lambda night: night.unknown),
)
"""Name, help text, label and the counts of a night by the value of that label."""


def signature_labels(count: SignatureCount) -> dict[str, str]:
    """The labels of a signature on one night."""
    return {
        "signature": count.signature,
        "oracle": oracle_of(count.signature),
        "build": count.build,
        "unexplained": str(count.unexplained).lower(),
        "bugs": ", ".join(count.bugs),
    }


def oracle_of(signature: str) -> str:
    """The oracle of a signature, which begins with ORACLE/RULE."""
    return signature.partition("/")[0]


def _counted(nights: Sequence[StabilityNight], label: str, counts_of: CountsOf) -> list[TimedSample]:
    return _sorted(
        ({label: name}, float(count), night.night)
        for night in nights
        for name, count in counts_of(night).items()
    )


def _states(history: StabilityHistory) -> Iterator[tuple[dict[str, str], float, str]]:
    """The states after each night, by the nights up to then."""
    dates = [night.night for night in history.nights]
    for last, date in enumerate(dates):
        until = [count for count in history.signatures if count.night <= date]
        tracked = track_signatures(history.nights[: last + 1], until)
        # What nothing explains comes last, so that its state stays.
        tracked.sort(key=lambda each: each.latest.unexplained)
        for signature, now in {each.signature: each.state for each in tracked}.items():
            for state in STATES:
                labels = {"signature": signature, "oracle": oracle_of(signature), "state": state}
                yield labels, float(now == state), date


def _sorted(samples: Iterable[tuple[Mapping[str, str], float, str]]) -> list[TimedSample]:
    """By series, and within a series by time."""
    found = ((label_text(labels), value, seconds_of(night)) for labels, value, night in samples)
    return sorted(found, key=lambda sample: (sample[0], sample[2]))


def seconds_of(night: str) -> int:
    """Start of a night in seconds since the epoch."""
    return round(datetime.fromisoformat(night).astimezone(UTC).timestamp())
