"""The data of the proof, by part: one JSON file, from which aims are checked and the page is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from kvchaos.errors import UsageError
from kvchaos.nightly.night_records import Line

PROOF = "proof.json"


class AimCheck(Line, frozen=True, kw_only=True):
    """One line of the proof: an aim and what was found."""

    id: str
    """PART/AIM."""
    subject: str
    aim: str
    found: str
    met: bool | None
    """None: nothing is stored to judge it by."""


class DetectionShares(Line, frozen=True, kw_only=True):
    """How often a known step was found."""

    ratio: float
    noise_aim: float
    """Standard deviation of a run, as a share, up to which it has to be found."""
    run_noise: float
    """What the runs had: that of a pair over the root of 2."""
    live: int
    live_first: int
    """Live nights that found it."""
    rows: int
    """Rows of three live nights."""
    rows_found: int
    resampled: int
    first: int
    within: int
    """Resampled nights that found it, and rows of three nights."""
    stated: float
    """Share of nights that the decision states for this noise."""


class AlarmRate(Line, frozen=True, kw_only=True):
    """Alarms on nights of equal builds, of one series."""

    source: str
    """The stored pairs."""
    series: str
    nights: int
    alarms: int
    """Stored nights, and those of them with an alarm."""
    resampled: int
    resampled_alarms: int
    offset_alarms: int
    """The same where all pairs of a night share an offset, as large as the stored nights let estimate it."""
    mean: float
    """Slowdown of all stored pairs: a difference of the sides that the builds do not have."""
    mean_p: float


class SeriesIndependence(Line, frozen=True, kw_only=True):
    """Whether pairs of a night are independent, of one series of some stored nights."""

    source: str
    series: str
    nights: int
    pairs: int
    """Of each night."""
    correlation: float
    correlation_p: float
    offset_share: float
    offset_p: float


class VisibleStepTruth(Line, frozen=True, kw_only=True):
    """The smallest visible step as stated, and as found. Steps are logarithms of ratios."""

    source: str
    series: str
    pair_noise: float
    stated: float
    """By the noise of all stored nights."""
    found: float
    """Found on 80 % of resampled nights."""
    alone: tuple[float, float, float]
    """Stated by one night alone: 10th, 50th and 90th percentile of resampled nights."""


class BisectionShares(Line, frozen=True, kw_only=True):
    """Searches for a slow build."""

    kind: Literal["resampled", "live"]
    builds: int
    trials: int
    right: int
    wrong: int
    """The others located nothing and gave a reason."""
    most_built: int
    mean_pairs: float
    confidence: float
    """Mean of what the searches state."""


class RunCounts(Line, frozen=True, kw_only=True):
    """How the stored pairs were measured."""

    file: str
    nights: int
    pairs: int
    repeated_runs: int
    """Since the machine was late in them."""
    first_night: str
    last_night: str
    load_average: float | None = None
    """Median; None: not known."""


class NightlyProof(Line, frozen=True, kw_only=True):
    """The whole proof."""

    v: Literal[1] = 1
    seed: int
    measured: Sequence[RunCounts] = ()
    detections: Sequence[DetectionShares] = ()
    alarms: Sequence[AlarmRate] = ()
    independence: Sequence[SeriesIndependence] = ()
    visible: Sequence[VisibleStepTruth] = ()
    bisections: Sequence[BisectionShares] = ()


_proofs = msgspec.json.Decoder(NightlyProof)


def write_proof(proof: NightlyProof, path: Path) -> None:
    """Raises UsageError."""
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error


def read_proof(path: Path) -> NightlyProof:
    """Raises UsageError."""
    try:
        return _proofs.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}; make it without --page") from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path}: {error}") from error
