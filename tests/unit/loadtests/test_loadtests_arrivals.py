"""A schedule that is not what it says, or not the same twice, makes every latency at a rate worthless."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from history.phase_spec import Arrivals, Bursts, Closed, Constant, Gamma, Poisson, Ramp, Steps
from loadtests.arrival_schedule import schedule

RATE = 20.0
COUNT = 5000
KS_1_PERCENT = 1.63
"""Kolmogorov-Smirnov: above this, times 1 / sqrt(n), one sample in a hundred lies by chance."""

OPEN: tuple[Arrivals, ...] = (
    Constant(kind="constant", rate=RATE),
    Poisson(kind="poisson", rate=RATE),
    Gamma(kind="gamma", rate=RATE, burstiness=0.25),
    Ramp(kind="ramp", from_rate=0, to_rate=RATE, over_s=5, spacing="poisson"),
    Steps(kind="steps", rates=(5, RATE), each_s=3, spacing="poisson"),
    Bursts(kind="bursts", size=7, every_s=0.5),
)


def times(arrivals: Arrivals, count: int = COUNT, seed: int = 1, phase: str = "load") -> NDArray[np.int64]:
    made = schedule(arrivals, count, seed, phase)
    assert made is not None
    return made


def seconds(arrivals: Arrivals, count: int) -> list[float]:
    return [float(time) for time in np.round(times(arrivals, count) / 1e9, 6)]


def gaps(arrivals: Arrivals, seed: int) -> NDArray[np.floating]:
    return np.diff(times(arrivals, seed=seed), prepend=0) / 1e9


def distance(sample: NDArray[np.floating], cdf: Callable[[float], float]) -> float:
    """The largest distance between what the sample and the distribution say, times sqrt(n)."""
    ordered = np.sort(sample)
    expected = np.array([cdf(value) for value in ordered])
    ranks = np.arange(len(ordered) + 1) / len(ordered)
    widest = max(np.max(np.abs(ranks[1:] - expected)), np.max(np.abs(ranks[:-1] - expected)))
    return float(widest) * math.sqrt(len(ordered))


def exponential(rate: float) -> Callable[[float], float]:
    return lambda gap: 1 - math.exp(-rate * gap)


def gamma_4(rate: float) -> Callable[[float], float]:
    """Shape 4: a sum of four exponentials, which has a closed form."""

    def cdf(gap: float) -> float:
        x = 4 * rate * gap
        return 1 - math.exp(-x) * sum(x**k / math.factorial(k) for k in range(4))

    return cdf


def gamma_half(rate: float) -> Callable[[float], float]:
    """Shape 1/2: the square of a normal deviate."""
    return lambda gap: math.erf(math.sqrt(rate * gap / 2))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_gaps_are_exponential_with_the_rate(seed: int) -> None:
    poisson = gaps(Poisson(kind="poisson", rate=RATE), seed)
    assert distance(poisson, exponential(RATE)) < KS_1_PERCENT


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gamma_gaps_follow_their_burstiness(seed: int) -> None:
    steady = gaps(Gamma(kind="gamma", rate=RATE, burstiness=4), seed)
    bursty = gaps(Gamma(kind="gamma", rate=RATE, burstiness=0.5), seed)
    assert distance(steady, gamma_4(RATE)) < KS_1_PERCENT
    assert distance(bursty, gamma_half(RATE)) < KS_1_PERCENT


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_distribution_check_detects_a_wrong_rate_and_a_wrong_shape(seed: int) -> None:
    poisson = gaps(Poisson(kind="poisson", rate=RATE), seed)
    assert distance(poisson, exponential(1.1 * RATE)) > KS_1_PERCENT
    assert distance(poisson, gamma_4(RATE)) > KS_1_PERCENT
    assert (
        distance(gaps(Gamma(kind="gamma", rate=RATE, burstiness=1.3), seed), exponential(RATE)) > KS_1_PERCENT
    )


def test_a_constant_rate_is_evenly_spaced() -> None:
    assert seconds(Constant(kind="constant", rate=4), 4) == [0.0, 0.25, 0.5, 0.75]


def test_ramp_is_linear_and_continues_at_its_last_rate() -> None:
    # After t seconds of a climb from 0 to 10 in 2 s, 2.5 t^2 have come.
    rising = seconds(Ramp(kind="ramp", from_rate=0, to_rate=10, over_s=2), 21)
    assert rising[:11] == [round(math.sqrt(k / 2.5), 6) for k in range(11)]
    assert rising[11:] == [round(2 + k / 10, 6) for k in range(1, 11)]


def test_a_ramp_falls_too() -> None:
    falling = seconds(Ramp(kind="ramp", from_rate=10, to_rate=2, over_s=1), 9)
    assert falling[6:] == [1.0, 1.5, 2.0]
    assert falling[1] < 0.11 < falling[6] - falling[5]


def test_a_ramp_between_equal_rates_is_constant() -> None:
    assert seconds(Ramp(kind="ramp", from_rate=4, to_rate=4, over_s=1), 8) == [k / 4 for k in range(8)]


def test_steps_keep_each_rate_for_their_duration_and_the_last_forever() -> None:
    steps = seconds(Steps(kind="steps", rates=(2, 4), each_s=1), 9)
    assert steps == [0.0, 0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5]


def test_requests_of_a_burst_are_due_at_once() -> None:
    assert seconds(Bursts(kind="bursts", size=3, every_s=2), 7) == [0.0] * 3 + [2.0] * 3 + [4.0]


@pytest.mark.parametrize("each_s", [50.0, 100.0])
def test_random_arrivals_of_steps_are_poisson_within_a_step(each_s: float) -> None:
    steps = Steps(kind="steps", rates=(5, 50), each_s=each_s, spacing="poisson")
    early = times(steps)[: int(4 * each_s)] / 1e9
    assert distance(np.diff(early), exponential(5)) < KS_1_PERCENT


def test_a_closed_loop_has_no_schedule() -> None:
    assert schedule(Closed(), COUNT, 1, "load") is None


@given(arrivals=st.sampled_from(OPEN), seed=st.integers(0, 2**63 - 1), count=st.integers(1, 200))
def test_times_never_run_backwards(arrivals: Arrivals, seed: int, count: int) -> None:
    made = times(arrivals, count, seed)
    assert len(made) == count
    assert made[0] >= 0
    assert np.all(np.diff(made) >= 0)


@pytest.mark.parametrize("arrivals", [arrivals for arrivals in OPEN if "poisson" in str(arrivals)])
def test_seed_and_phase_change_random_arrivals(arrivals: Arrivals) -> None:
    assert not np.array_equal(times(arrivals), times(arrivals, seed=2))
    assert not np.array_equal(times(arrivals), times(arrivals, phase="other"))


FINGERPRINT = """
import hashlib
from history.phase_spec import Gamma
from loadtests.arrival_schedule import schedule
made = schedule(Gamma(kind="gamma", rate=20.0, burstiness=0.25), 5000, 1, "load")
print(hashlib.sha256(made.tobytes()).hexdigest())
"""


def test_arrival_times_are_identical_across_processes() -> None:
    here = hashlib.sha256(times(Gamma(kind="gamma", rate=RATE, burstiness=0.25)).tobytes()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", FINGERPRINT],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"kind": "poison", "rate": 2}, "union_tag_invalid"),
        ({"kind": "poisson"}, "missing"),
        ({"kind": "poisson", "rate": 0}, "greater_than"),
        ({"kind": "poisson", "rate": "2"}, "float_type"),
        ({"kind": "poisson", "rate": 2, "burstiness": 1}, "extra_forbidden"),
        ({"kind": "steps", "rates": [], "each_s": 1}, "too_short"),
        ({"kind": "bursts", "size": 2.5, "every_s": 1}, "int_type"),
    ],
)
def test_a_bad_entry_is_refused(entry: dict[str, object], problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Arrivals).validate_json(json.dumps(entry))
    assert [error["type"] for error in caught.value.errors()] == [problem]
