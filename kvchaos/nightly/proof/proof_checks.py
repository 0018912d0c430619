"""The aims of the nightly decision, and whether the proof meets each. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kvchaos.nightly.proof.pair_independence import adjusted
from kvchaos.nightly.proof.pair_resampling import rate_bound, share_bounds
from kvchaos.nightly.proof.proof_data import (
    AimCheck,
    AlarmRate,
    BisectionShares,
    DetectionShares,
    NightlyProof,
    SeriesIndependence,
    VisibleStepTruth,
)

FIRST_NIGHT = {1.05: 0.70, 1.10: 0.90}
"""By ratio the least share of nights that find it."""
WITHIN_THREE = {1.05: 0.97}
MIN_INJECTIONS, MIN_LIVE = 200, 30
AA_NIGHTS = {"mock": 40, "server": 20}
"""Nights of equal builds that have to be stored."""
QUARTER_NIGHTS, QUARTER_SERIES = 90, 40
MAX_FALSE_QUARTERS = 0.01
"""Share of quarters with any false alarm."""
VISIBLE_TOLERANCE = 0.2
LEAST_P = 0.05
FOUND_SEARCHES, MAX_BUILT, LIVE_SEARCHES = 0.95, 6, 5


def aim_checks(proof: NightlyProof) -> list[AimCheck]:
    """One for each aim, in the order of the page."""
    return [
        *(check for shares in proof.detections for check in _of_detection(shares)),
        _injections(proof.detections),
        *_of_alarms(proof.alarms),
        *_of_tests(proof.independence, proof.alarms),
        *_of_visible(proof.visible),
        *(check for shares in proof.bisections for check in _of_bisection(shares)),
    ]


def percent(share: float, digits: int = 1) -> str:
    """A share as text."""
    return f"{100 * share:.{digits}f} %"


def share_text(count: int, total: int) -> str:
    """A share with its total and its 95 % interval."""
    low, high = share_bounds(count, total)
    return f"{percent(count / total)} of {total} ({percent(low)} to {percent(high)})"


def false_quarters(rate: float) -> float:
    """Share of quarters with any false alarm, at this rate for each series and night."""
    return -math.expm1(QUARTER_NIGHTS * QUARTER_SERIES * math.log1p(-min(rate, 1 - 1e-12)))


def _of_detection(shares: DetectionShares) -> Iterator[AimCheck]:
    name = f"step of {percent(shares.ratio - 1, 0)}"
    yield AimCheck(
        id="detection/noise",
        subject=f"{name}: noise of a run",
        aim=f"at most {percent(shares.noise_aim, 0)}",
        found=percent(shares.run_noise, 2),
        met=shares.run_noise <= shares.noise_aim,
    )
    parts = (
        ("first", "on the first night", FIRST_NIGHT, shares.live_first, shares.live, shares.first),
        ("within-three", "within three nights", WITHIN_THREE, shares.rows_found, shares.rows, shares.within),
    )
    for part, when, aims, live_found, live, resampled in parts:
        aim = aims.get(shares.ratio)
        if aim is not None:
            count, total = live_found + resampled, live + shares.resampled
            yield AimCheck(
                id=f"detection/{part}",
                subject=f"{name}: found {when}",
                aim=f"at least {percent(aim, 0)}",
                found=f"{share_text(count, total)}; live {live_found} of {live}",
                met=count >= aim * total,
            )


def _injections(detections: Sequence[DetectionShares]) -> AimCheck:
    live = sum(shares.live for shares in detections)
    fewest = min((shares.live + shares.resampled for shares in detections), default=0)
    return AimCheck(
        id="detection/nights",
        subject="nights with a known delay",
        aim=f"{MIN_INJECTIONS} or more of each, {MIN_LIVE} or more live in all",
        found=f"{fewest} of each, {live} live in all",
        met=fewest >= MIN_INJECTIONS and live >= MIN_LIVE,
    )


def _of_alarms(alarms: Sequence[AlarmRate]) -> Iterator[AimCheck]:
    for source, wanted in AA_NIGHTS.items():
        own = [rate for rate in alarms if rate.source == source]
        nights = max((rate.nights for rate in own), default=0)
        yield AimCheck(
            id="alarms/nights",
            subject=f"stored nights of equal builds, {source}",
            aim=f"{wanted} or more",
            found=str(nights),
            met=nights >= wanted if own else None,
        )
    if not alarms:
        return
    count = sum({rate.source: rate.nights for rate in alarms}.values())
    stored, drawn = sum(rate.alarms for rate in alarms), sum(rate.resampled for rate in alarms)
    drawn_alarms = sum(rate.resampled_alarms for rate in alarms)
    bound = rate_bound(drawn_alarms, drawn)
    yield AimCheck(
        id="alarms/resampled",
        subject="false alarms, resampled",
        aim=f"in at most {percent(MAX_FALSE_QUARTERS, 0)} of quarters with {QUARTER_SERIES} series",
        found=f"{drawn_alarms} in {drawn} nights of a series: at most {bound:.1e} each, in at most "
        f"{percent(false_quarters(bound), 2)} of quarters",
        met=false_quarters(bound) <= MAX_FALSE_QUARTERS,
    )
    yield AimCheck(
        id="alarms/stored",
        subject="false alarms, stored nights alone",
        aim="none",
        found=f"{stored} in {count} nights: an alarm on at most "
        f"{percent(rate_bound(min(stored, count), count))} of nights",
        met=stored == 0,
    )


def _of_tests(tested: Sequence[SeriesIndependence], alarms: Sequence[AlarmRate]) -> Iterator[AimCheck]:
    parts = (
        ("neighbours", "neighbouring pairs", [each.correlation_p for each in tested]),
        ("offsets", "offsets of nights", [each.offset_p for each in tested]),
        ("sides", "difference of the sides", [rate.mean_p for rate in alarms]),
    )
    for part, name, ps in parts:
        if ps:
            least = min(adjusted(ps))
            yield AimCheck(
                id=f"independence/{part}",
                subject=f"independence: {name}",
                aim=f"no adjusted p below {LEAST_P:g}",
                found=f"least of {len(ps)}: {least:.3f}",
                met=least >= LEAST_P,
            )


def _of_visible(steps: Sequence[VisibleStepTruth]) -> Iterator[AimCheck]:
    if steps:
        worst = max(steps, key=lambda step: abs(step.found / step.stated - 1))
        yield AimCheck(
            id="visible-step/truth",
            subject="smallest visible step",
            aim=f"found within {percent(VISIBLE_TOLERANCE, 0)} of what is stated",
            found=f"worst of {len(steps)}: {worst.source} {worst.series}, stated {percent(worst.stated, 2)}, "
            f"found {percent(worst.found, 2)}",
            met=abs(worst.found / worst.stated - 1) <= VISIBLE_TOLERANCE,
        )


def _of_bisection(shares: BisectionShares) -> Iterator[AimCheck]:
    name = f"slow build among {shares.builds}, {shares.kind}"
    if shares.kind == "live":
        yield AimCheck(
            id="bisection/live",
            subject=name,
            aim=f"{LIVE_SEARCHES} of {LIVE_SEARCHES}",
            found=f"{shares.right} of {shares.trials}",
            met=shares.right == shares.trials >= LIVE_SEARCHES,
        )
    else:
        yield AimCheck(
            id="bisection/resampled",
            subject=name,
            aim=f"at least {percent(FOUND_SEARCHES, 0)}",
            found=share_text(shares.right, shares.trials),
            met=shares.right >= FOUND_SEARCHES * shares.trials,
        )
    yield AimCheck(
        id="bisection/builds",
        subject=f"{name}: builds measured",
        aim=f"at most {MAX_BUILT}",
        found=f"at most {shares.most_built}, {shares.mean_pairs:.0f} pairs on average",
        met=shares.most_built <= MAX_BUILT,
    )
