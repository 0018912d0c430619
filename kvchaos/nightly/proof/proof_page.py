"""The proof as tables of a page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kvchaos.nightly.proof.proof_checks import aim_checks, percent
from kvchaos.nightly.proof.proof_data import (
    AimCheck,
    AlarmRate,
    BisectionShares,
    DetectionShares,
    NightlyProof,
    RunCounts,
    SeriesIndependence,
    VisibleStepTruth,
)
from kvchaos.report.text_tables import markdown_table, replace_between

Rows = tuple[Sequence[str], list[list[str]]]
"""Headings and cells of a table."""


def insert_proof(page: str, proof: NightlyProof) -> str:
    """The page with the tables of a proof between its marks. Raises ValueError without them."""
    for name, (headings, rows) in proof_tables(proof).items():
        page = replace_between(page, f"<!-- {name} -->", markdown_table(headings, rows))
    return page


def proof_tables(proof: NightlyProof) -> dict[str, Rows]:
    """By the name of its mark each table."""
    return {
        "aims": check_rows(aim_checks(proof)),
        "measured": _measured(proof.measured),
        "detections": _detections(proof.detections),
        "alarms": _alarms(proof.alarms),
        "independence": _independence(proof.independence),
        "visible": _visible(proof.visible),
        "bisections": _bisections(proof.bisections),
    }


def check_rows(checks: Sequence[AimCheck]) -> Rows:
    """What was found for each aim."""
    words = {True: "met", False: "not met", None: "nothing stored"}
    return ("subject", "aim", "found", ""), [
        [check.subject, check.aim, check.found, words[check.met]] for check in checks
    ]


def _measured(counts: Sequence[RunCounts]) -> Rows:
    rows = [
        [
            *(f"`{one.file}`", str(one.nights), str(one.pairs), str(one.repeated_runs)),
            *(
                "-" if one.load_average is None else f"{one.load_average:.1f}",
                one.first_night,
                one.last_night,
            ),
        ]
        for one in counts
    ]
    return ("file", "nights or searches", "pairs", "repeated runs", "load average", "first", "last"), rows


def _detections(detections: Sequence[DetectionShares]) -> Rows:
    rows = [
        [
            *(f"x {one.ratio:g}", percent(one.run_noise, 2), f"{one.live_first} of {one.live}"),
            *(f"{one.rows_found} of {one.rows}", percent(one.first / one.resampled)),
            *(percent(one.within / one.resampled), percent(one.stated)),
        ]
        for one in detections
    ]
    headings = ("delay", "noise of a run", "live, first night", "live, three nights")
    return (*headings, "resampled, first night", "resampled, three nights", "stated power"), rows


def _alarms(alarms: Sequence[AlarmRate]) -> Rows:
    rows = [
        [
            *(one.source, one.series, str(one.nights), str(one.alarms)),
            *(str(one.resampled), str(one.resampled_alarms), str(one.offset_alarms)),
            *(percent(one.mean, 2), f"{one.mean_p:.3f}"),
        ]
        for one in alarms
    ]
    headings = ("source", "series", "stored nights", "alarms", "resampled nights", "alarms")
    return (*headings, "alarms, nights with offsets", "mean", "p"), rows


def _independence(tested: Sequence[SeriesIndependence]) -> Rows:
    rows = [
        [
            *(one.source, one.series, f"{one.nights} of {one.pairs}"),
            *(f"{one.correlation:+.3f}", f"{one.correlation_p:.3f}"),
            *(f"{one.offset_share:.2f}", f"{one.offset_p:.3f}"),
        ]
        for one in tested
    ]
    return ("source", "series", "nights of pairs", "lag-1 correlation", "p", "offset of nights", "p"), rows


def _visible(steps: Sequence[VisibleStepTruth]) -> Rows:
    return (
        "source",
        "series",
        "noise of a pair",
        "stated",
        "found",
        "found / stated",
        "stated by one night",
    ), [
        [
            *(one.source, one.series, percent(one.pair_noise, 2), _step(one.stated), _step(one.found)),
            *(f"{one.found / one.stated:.2f}", " / ".join(map(_step, one.alone))),
        ]
        for one in steps
    ]


def _bisections(searches: Sequence[BisectionShares]) -> Rows:
    rows = [
        [
            *(one.kind, str(one.trials), str(one.right), str(one.wrong)),
            *(str(one.trials - one.right - one.wrong), str(one.most_built)),
            *(f"{one.mean_pairs:.0f}", percent(one.confidence, 2)),
        ]
        for one in searches
    ]
    headings = ("searches", "number", "right", "wrong", "not located", "most builds")
    return (*headings, "mean pairs", "mean stated confidence"), rows


def _step(step: float) -> str:
    """A logarithm as a change in percent."""
    return percent(math.expm1(step), 2)
