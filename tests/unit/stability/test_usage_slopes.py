"""Slopes over the runs of one server: a leak grows, noise and growth within the room do not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from kvchaos.stability.campaign_records import ServerUsage, StabilityNight, UsageSlope
from kvchaos.stability.night_counts import night_line
from kvchaos.stability.server_usage import server_usage
from kvchaos.stability.usage_slopes import LEAST_RUNS, usage_slopes
from tests.support.histories import clean_run
from tests.support.stability_nights import campaign_run, stability_date

MIB = 1 << 20
RUN_S = 60


def usage(
    number: int, life: str = "7-1", *, memory_mib: float = 900.0, ttft_ms: float = 20.0, files: int = 50
) -> ServerUsage:
    return ServerUsage(
        life=life,
        t_s=1_700_000_000 + number * RUN_S,
        memory_bytes=round(memory_mib * MIB),
        files=files,
        sockets=20,
        threads=40,
        ttft_ms=ttft_ms,
        itl_ms=3.0,
    )


def night_of(count: int, of_run: Callable[[int], ServerUsage]) -> StabilityNight:
    runs = [replace(campaign_run(number), usage=of_run(number)) for number in range(count)]
    return night_line(stability_date(20), "0.32.0", runs, count * RUN_S, complete=True)


def slope(night: StabilityNight, figure: str) -> UsageSlope:
    (found,) = [each for each in night.slopes if each.figure == figure]
    return found


def test_leak_of_memory_grows_and_the_night_is_not_green() -> None:
    night = night_of(60, lambda number: usage(number, memory_mib=900 + 2.0 * number))
    found = slope(night, "memory")
    assert (found.grows, found.runs) == (True, 60)
    assert found.per_hour == pytest.approx(120.0)
    assert not night.is_green


def test_growth_within_the_room_is_no_leak() -> None:
    night = night_of(60, lambda number: usage(number, memory_mib=900 + 0.5 * number))
    assert not slope(night, "memory").grows


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_grow(seed: int) -> None:
    noise = random.Random(seed)
    values = [noise.gauss(0.0, 1.0) for _ in range(60)]
    night = night_of(
        60, lambda number: usage(number, memory_mib=900 + 30 * values[number], ttft_ms=20 + values[number])
    )
    assert not any(each.grows for each in night.slopes)


def test_one_outlier_does_not_bend_a_slope() -> None:
    night = night_of(30, lambda number: usage(number, memory_mib=5000 if number == 29 else 900))
    assert slope(night, "memory").per_hour == 0.0


def test_latency_that_grows_by_more_than_a_fifth_is_found() -> None:
    night = night_of(40, lambda number: usage(number, ttft_ms=20 + 0.3 * number))
    assert slope(night, "TTFT").grows
    assert not slope(night, "ITL").grows


def test_runs_of_two_servers_are_not_joined() -> None:
    night = night_of(
        2 * LEAST_RUNS,
        lambda number: usage(number, f"{number // LEAST_RUNS}-1", files=50 + 30 * (number // LEAST_RUNS)),
    )
    assert {each.life for each in night.slopes} == {"0-1", "1-1"}
    assert not any(each.grows for each in night.slopes)


def test_few_runs_have_no_slope() -> None:
    assert night_of(LEAST_RUNS - 1, usage).slopes == []
    assert usage_slopes([campaign_run(number) for number in range(LEAST_RUNS)]) == []


def test_usage_of_a_run_is_its_last_sample_and_its_latencies_without_faults() -> None:
    history = clean_run().history()
    found = server_usage(history)
    assert found is not None
    last = history.resources[-1]
    assert (found.memory_bytes, found.files, found.life) == (
        last.anonymous_bytes,
        last.files,
        f"{last.leader}-{last.started}",
    )
    assert found.ttft_ms is not None


def test_run_without_samples_has_no_usage() -> None:
    run = clean_run()
    run.resources.clear()
    assert server_usage(run.history()) is None
