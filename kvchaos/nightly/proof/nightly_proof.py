"""The proof of the nightly decision, computed from stored pairs: what it finds, and how often it is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from kvchaos.nightly.decision import decide, needs_confirmation
from kvchaos.nightly.detection_power import NO_NOISE, PairNoise, Procedure, power, visible_step
from kvchaos.nightly.proof.pair_independence import neighbours, night_offsets
from kvchaos.nightly.proof.pair_resampling import (
    EqualPairs,
    Floats,
    alarm_counts,
    bias_p,
    drawn_nights,
    found_step,
    found_within,
    units,
)
from kvchaos.nightly.proof.proof_bisections import bisection_shares, live_shares
from kvchaos.nightly.proof.proof_data import (
    AlarmRate,
    DetectionShares,
    NightlyProof,
    RunCounts,
    SeriesIndependence,
    VisibleStepTruth,
)
from kvchaos.nightly.proof.proof_runs import DELAYS, IN_A_ROW, PLAN, KnownDelay
from kvchaos.nightly.proof.stored_pairs import (
    BISECTIONS,
    DELAYED,
    MOCK_AA,
    SERVER_AA,
    StoredBisection,
    StoredNight,
    StoredPairs,
)

MIN_NIGHTS = 3
"""Fewer stored nights give no figures."""


@dataclass(frozen=True, slots=True)
class ProofSize:
    """How much is resampled."""

    trials: int = 2000
    """Rows of nights with each delay."""
    equal_nights: int = 2_000_000
    """Nights of equal builds of each source."""
    step_nights: int = 20_000
    """Nights for each visible step."""
    searches: int = 200


def prove(stored: StoredPairs, seed: int, size: ProofSize) -> NightlyProof:
    """All parts of the proof; a part of which nothing is stored is empty."""
    sources = _sources(stored)
    return NightlyProof(
        seed=seed,
        measured=list(_counts(stored)),
        detections=[
            shares
            for delay in DELAYS
            if (shares := _detections(delay, stored.delayed, seed, size)) is not None
        ],
        alarms=[rate for name, nights in sources for rate in _alarms(name, nights, seed, size)],
        independence=[
            each
            for name, nights in (*sources, *_delayed_sources(stored))
            for each in _independence(name, nights, seed)
        ],
        visible=[each for name, nights in sources for each in _visible(name, nights, seed, size)],
        bisections=[*bisection_shares(stored, seed, size.searches), *live_shares(stored.bisections)],
    )


def night_found(night: StoredNight, series: str) -> bool:
    """Whether a stored night reports a series as regressed, as any night decides."""
    screen = night.screen[series]
    goes_on = needs_confirmation(screen, night.least_steps[series], 0.0, PLAN)
    confirm = night.confirm.get(series, []) if goes_on else []
    return decide(screen, confirm, night.least_steps[series], PLAN).result == "regressed"


def night_alarm(night: StoredNight, series: str) -> bool:
    """Whether a stored night of equal builds reports a change of a series."""
    stages = night.screen[series], night.confirm.get(series, [])
    return decide(*stages, night.least_steps[series], PLAN).result in ("regressed", "improved")


def _sources(stored: StoredPairs) -> list[tuple[str, list[StoredNight]]]:
    """Nights of equal builds, by the kind of their server."""
    found = (("mock", stored.mock_aa), ("server", stored.server_aa))
    complete = [(name, [night for night in nights if _is_complete(night)]) for name, nights in found]
    return [(name, nights) for name, nights in complete if len(nights) >= MIN_NIGHTS]


def _delayed_sources(stored: StoredPairs) -> Iterator[tuple[str, list[StoredNight]]]:
    """Nights with a delay have more pairs each, in which drift shows better."""
    for delay in DELAYS:
        nights = _of(delay, stored.delayed)
        if len(nights) >= MIN_NIGHTS:
            yield f"mock, x {delay.ratio:g}", nights


def _of(delay: KnownDelay, nights: Sequence[StoredNight]) -> list[StoredNight]:
    return [night for night in nights if math.isclose(night.step, math.log(delay.ratio), abs_tol=1e-5)]


def _series(nights: Sequence[StoredNight]) -> list[str]:
    """Series that may raise an alarm on all nights."""
    return [
        series for series in nights[0].least_steps if all(series in night.least_steps for night in nights)
    ]


def _is_complete(night: StoredNight) -> bool:
    return all(len(night.screen.get(series, ())) == PLAN.screen_pairs for series in night.least_steps)


def _detections(
    delay: KnownDelay, nights: Sequence[StoredNight], seed: int, size: ProofSize
) -> DetectionShares | None:
    own = _of(delay, nights)
    by_figure: dict[str, list[StoredNight]] = {}
    for night in own:
        by_figure.setdefault(night.delayed or "", []).append(night)
    if len(own) < MIN_NIGHTS:
        return None
    rng = np.random.default_rng([seed, round(1000 * delay.ratio)])
    firsts = withins = trials = 0
    for number, (figure, group) in enumerate(by_figure.items()):
        count = size.trials // len(by_figure) + (number < size.trials % len(by_figure))
        found = found_within(
            _both_stages(group, figure), own[0].least_steps[figure], PLAN, count, IN_A_ROW, rng
        )
        firsts, withins, trials = (
            firsts + int(found[:, 0].sum()),
            withins + int(found.any(axis=1).sum()),
            trials + count,
        )
    noise = _noise(own)
    hits = [night_found(night, night.delayed or "") for night in own]
    rows = [hits[begin : begin + IN_A_ROW] for begin in range(0, len(hits) - IN_A_ROW + 1, IN_A_ROW)]
    return DetectionShares(
        ratio=delay.ratio,
        noise_aim=delay.noise,
        run_noise=noise / math.sqrt(2),
        live=len(hits),
        live_first=sum(hits),
        rows=len(rows),
        rows_found=sum(map(any, rows)),
        resampled=trials,
        first=firsts,
        within=withins,
        stated=power(math.log(delay.ratio), noise, own[0].least_steps[own[0].delayed or ""], PLAN),
    )


def _both_stages(nights: Sequence[StoredNight], series: str) -> Floats:
    """All pairs of one series: [units]."""
    return np.array([each for night in nights for each in (*night.screen[series], *night.confirm[series])])


def _noise(nights: Sequence[StoredNight]) -> float:
    """Of one pair, within stages, of the delayed series."""
    total = NO_NOISE
    for night in nights:
        for stage in (night.screen, night.confirm):
            total = total.plus(PairNoise.of(stage[night.delayed or ""]))
    return total.deviation


def _alarms(name: str, nights: Sequence[StoredNight], seed: int, size: ProofSize) -> Iterator[AlarmRate]:
    series = _series(nights)
    equal = EqualPairs(
        pairs=units([night.screen for night in nights], series),
        least_steps=[nights[0].least_steps[one] for one in series],
        offsets=[0.0] * len(series),
    )
    offsets = [night_offsets(np.array([night.screen[one] for night in nights])).deviation for one in series]
    rng = np.random.default_rng([seed, len(equal.pairs)])
    counts = alarm_counts(equal, PLAN, size.equal_nights, rng)
    with_offsets = alarm_counts(replace(equal, offsets=offsets), PLAN, size.equal_nights, rng)
    for number, one in enumerate(series):
        yield AlarmRate(
            source=name,
            series=one,
            nights=len(nights),
            alarms=sum(night_alarm(night, one) for night in nights),
            resampled=size.equal_nights,
            resampled_alarms=counts[number],
            offset_alarms=with_offsets[number],
            mean=float(equal.pairs[:, number].mean()),
            mean_p=bias_p(equal.pairs[:, number]),
        )


def _independence(name: str, nights: Sequence[StoredNight], seed: int) -> Iterator[SeriesIndependence]:
    both = all(night.confirm for night in nights)
    for series in _series(nights):
        rows = np.array([night.screen[series] + (night.confirm[series] if both else []) for night in nights])
        adjacent, offsets = neighbours(rows, seed), night_offsets(_less_steps(rows, nights))
        yield SeriesIndependence(
            source=name,
            series=series,
            nights=rows.shape[0],
            pairs=rows.shape[1],
            correlation=adjacent.correlation,
            correlation_p=adjacent.p,
            offset_share=offsets.deviation_share,
            offset_p=offsets.p,
        )


def _less_steps(rows: Floats, nights: Sequence[StoredNight]) -> Floats:
    """Less the mean of the nights with the same delay: their step is no offset of a night."""
    figures = np.array([night.delayed or "" for night in nights])
    less = rows.copy()
    for figure in np.unique(figures):
        less[figures == figure] -= rows[figures == figure].mean()
    return less


def _visible(
    name: str, nights: Sequence[StoredNight], seed: int, size: ProofSize
) -> Iterator[VisibleStepTruth]:
    for series in _series(nights):
        least_step, noise = nights[0].least_steps[series], NO_NOISE
        for night in nights:
            noise = noise.plus(PairNoise.of(night.screen[series]))
        pool = units([night.screen for night in nights], [series])[:, 0]
        rng = np.random.default_rng([seed, len(pool)])
        yield VisibleStepTruth(
            source=name,
            series=series,
            pair_noise=noise.deviation,
            stated=visible_step(noise.deviation, least_step, PLAN),
            found=found_step(pool, least_step, PLAN, size.step_nights, rng),
            alone=_stated_alone(pool, least_step, PLAN, rng),
        )


def _stated_alone(
    pool: Floats, least_step: float, plan: Procedure, rng: np.random.Generator
) -> tuple[float, float, float]:
    drawn = drawn_nights(pool, 400, plan.screen_pairs, rng)
    stated = [visible_step(PairNoise.of(list(row)).deviation, least_step, plan) for row in drawn]
    low, middle, high = (float(each) for each in np.quantile(stated, (0.1, 0.5, 0.9)))
    return low, middle, high


def _counts(stored: StoredPairs) -> Iterator[RunCounts]:
    nights = ((MOCK_AA, stored.mock_aa), (SERVER_AA, stored.server_aa), (DELAYED, stored.delayed))
    for file, own in nights:
        if own:
            yield RunCounts(
                file=file,
                nights=len(own),
                pairs=sum(_pairs(night) for night in own),
                repeated_runs=sum(night.excluded for night in own),
                first_night=own[0].night,
                last_night=own[-1].night,
                load_average=_load(own),
            )
    if stored.bisections:
        searches = stored.bisections
        yield RunCounts(
            file=BISECTIONS,
            nights=len(searches),
            pairs=sum(len(probe.slowdowns) for search in searches for probe in search.probes),
            repeated_runs=sum(search.excluded for search in searches),
            first_night=searches[0].night,
            last_night=searches[-1].night,
            load_average=_load(searches),
        )


def _load(stored: Sequence[StoredNight | StoredBisection]) -> float | None:
    known = [one.load_average for one in stored if one.load_average is not None]
    return median(known) if known else None


def _pairs(night: StoredNight) -> int:
    return sum(len(next(iter(stage.values()), [])) for stage in (night.screen, night.confirm))
