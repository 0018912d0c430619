"""A figure without its spread, a knee that is none, a ratio of unlike runs: each would be believed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from history.reader import History
from kvchaos.bench.bench_analysis import Interval, Ratio, bisect, brackets, knee, pairs, points, ratios
from kvchaos.bench.bench_file import (
    FILE,
    Bench,
    BenchRun,
    PhaseFigures,
    Slo,
    phase_figures,
    read_bench,
    write_bench,
)
from oracles.speed import speeds
from oracles.views.timeline import by_phase
from tests.support import bench_results
from tests.support.bench_results import bench, bench_run
from tests.support.histories import clean_run
from tests.support.synthetic_records import MS, failure


def measured(history: History, phase: str, slo: Slo | None = None) -> PhaseFigures:
    (speed,) = (speed for speed in speeds(history) if speed.name == phase)
    return phase_figures(speed, by_phase(history)[phase], slo)


def test_confidence_interval_covers_the_median_at_its_level() -> None:
    lots = random.Random(3)
    samples = [Interval.of([lots.gauss(10, 1) for _ in range(12)]) for _ in range(100)]
    assert sum(one.low <= 10 <= one.high for one in samples) >= 88
    assert all(one.low < one.median < one.high for one in samples)
    # And it is no wider than it must be.
    assert sum(one.low <= 11.5 <= one.high for one in samples) <= 5


def test_interval_of_few_values_is_not_reliable() -> None:
    assert not Interval.of([1.0] * 5).is_reliable
    assert Interval.of([1.0] * 6).is_reliable
    with pytest.raises(ValueError, match="measured"):
        Interval.of([])


def test_latency_counts_from_the_scheduled_time() -> None:
    run = clean_run()
    for index, record in enumerate(run.requests):
        if record.phase == "golden":
            run.change_request(index, scheduled_ns=record.start_ns - 500 * MS)
    found = measured(run.history(), "golden")
    assert found.ttft_ms.median == 520.0
    assert found.e2el_ms.median == 600.0
    assert found.itl_ms.median == 20.0


def test_rates_cover_good_answers_and_their_duration() -> None:
    found = measured(clean_run().history(), "golden")
    # 4 requests of 100 ms, one after the other, a ms or so between them.
    assert found.requests_per_s == pytest.approx(10, rel=0.05)
    assert found.tokens_per_s == pytest.approx(40, rel=0.05)


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (Slo(ttft_ms=20.0), 1.0),
        (Slo(ttft_ms=19.9), 0.0),
        (Slo(tpot_ms=13.4), 1.0),
        (Slo(tpot_ms=13.3), 0.0),
        (Slo(e2el_ms=100.0), 1.0),
        (Slo(e2el_ms=99.0), 0.0),
        (Slo(ttft_ms=1000.0, e2el_ms=99.0), 0.0),
    ],
)
def test_goodput_counts_requests_within_every_bound(slo: Slo, good: float) -> None:
    # TTFT 20 ms, 3 tokens in the 40 ms after it, 100 ms in all.
    assert measured(clean_run().history(), "golden", slo).good_share == good


def test_failed_request_is_counted_and_not_good() -> None:
    run = clean_run()
    run.change_request(run.first_of("golden"), **failure("InternalServerError", "no"))
    found = measured(run.history(), "golden", Slo(ttft_ms=1000.0))
    assert (found.requests, found.ok, found.good_share) == (4, 3, 0.75)
    assert found.goodput_per_s is not None
    assert found.requests_per_s is not None
    assert found.goodput_per_s == pytest.approx(found.requests_per_s)


def curve(*throughput: float) -> float | None:
    """The knee of a curve over the rates 1, 2, 3, ..."""
    phases = [(float(rate), bench_results.figures(tokens)) for rate, tokens in enumerate(throughput, start=1)]
    return knee(points(bench("sweep", [bench_run(1, *phases)], wanted=[1])))


def test_knee_is_the_highest_rate_that_throughput_follows() -> None:
    assert curve(100, 200, 298, 330, 335) == 3.0
    assert curve(100, 150, 160) == 1.0


def test_curve_without_saturation_has_no_knee() -> None:
    assert curve(100, 200, 290, 380) is None


def test_single_good_rate_beyond_the_knee_does_not_move_it() -> None:
    assert curve(100, 200, 250, 400, 300) == 2.0


def both_sides(seeds: range, faster: float, drift: Callable[[int], float]) -> list[BenchRun]:
    """Runs of two sides on a machine that is not the same from pair to pair."""
    runs = []
    for seed in seeds:
        slow = bench_results.figures(100 * drift(seed), 50 / drift(seed))
        fast = bench_results.figures(100 * drift(seed) * faster, 50 / drift(seed) / faster)
        runs += [bench_run(seed, (None, slow), side="off"), bench_run(seed, (None, fast), side="on")]
    return runs


def compared(runs: list[BenchRun]) -> dict[str, Ratio]:
    whole = bench("compare", runs, wanted=range(1, 9), sides=("off", "on"))
    return {one.figure.name: one for one in ratios("load", pairs(whole)["load"])}


def test_paired_ratio_is_robust_against_drift() -> None:
    lots = random.Random(1)
    drifts = [lots.uniform(0.5, 1.5) for _ in range(20)]
    found = compared(both_sides(range(1, 9), 1.25, lambda seed: drifts[seed]))
    throughput, ttft = found["throughput"], found["TTFT, median"]
    assert throughput.ratio.median == pytest.approx(1.25)
    assert ttft.ratio.median == pytest.approx(0.8)
    assert (throughput.significance, ttft.significance) == ("better", "better")
    assert found["ITL, p99"].significance == "undecided"


def test_regression_is_reported_as_worse() -> None:
    found = compared(both_sides(range(1, 9), 0.8, lambda _: 1.0))
    assert (found["throughput"].significance, found["TTFT, p99"].significance) == ("worse", "worse")


def test_unpaired_run_is_left_out() -> None:
    runs = both_sides(range(1, 9), 1.25, lambda _: 1.0)
    lost = [
        *runs[:-1],
        bench_run(8, (None, bench_results.figures()), side="on", why_not="the client was the limit"),
    ]
    assert compared(lost)["throughput"].ratio.count == 7


def test_a_figure_that_is_zero_or_missing_has_no_ratio() -> None:
    none = msgspec.structs.replace(bench_results.figures(), tokens_per_s=None)
    zero = msgspec.structs.replace(bench_results.figures(), requests_per_s=0.0)
    found = {one.figure.name for one in ratios("load", [(none, zero)])}
    assert not found & {"throughput", "requests", "goodput"}
    assert "TTFT, median" in found


def tries(true_rate: float, precision: float = 0.05) -> list[tuple[float, bool]]:
    """Rates that a search between 0 and 8 tries, and whether each held."""
    tried: list[tuple[float, bool]] = []

    def meets_slo(rate: float) -> bool:
        tried.append((rate, rate <= true_rate))
        return rate <= true_rate

    bisect(meets_slo, 0.0, 8.0, precision)
    return tried


@pytest.mark.parametrize("true_rate", [0.7, 3.3, 7.9])
def test_slo_search_ends_at_the_highest_passing_rate(true_rate: float) -> None:
    tried = tries(true_rate)
    best = max(rate for rate, good in tried if good)
    worst = min(rate for rate, good in tried if not good)
    assert best <= true_rate < worst
    assert worst - best <= 0.05 * worst
    assert len(tried) <= 10


def test_slo_search_raises_a_low_start_until_a_rate_fails() -> None:
    tried = tries(50.0)
    assert tried[:4] == [(8.0, True), (16.0, True), (32.0, True), (64.0, False)]
    best = max(rate for rate, good in tried if good)
    worst = min(rate for rate, good in tried if not good)
    assert best <= 50.0 < worst
    assert min(rate for rate, _ in tried[4:]) > 32.0


def test_slo_search_ends_when_every_rate_passes() -> None:
    tried = tries(math.inf)
    assert all(good for _, good in tried)
    assert len(tried) < 10


def test_slo_search_ends_when_no_rate_passes() -> None:
    tried = tries(0.0)
    assert not any(good for _, good in tried)
    assert len(tried) < 20


def probe(seed: int, rate: float, share: float) -> BenchRun:
    return bench_run(seed, (rate, bench_results.figures(good_share=share)))


def test_slo_search_result_is_derived_from_its_runs() -> None:
    runs = [probe(1, 8.0, 0.2), probe(1, 4.0, 0.99), probe(1, 6.0, 0.5), probe(2, 8.0, 1.0)]
    slo = Slo(ttft_ms=100.0, share=0.95)
    found = brackets(bench("slo", runs, wanted=[1, 2], slo=slo, searched=[1, 2]))
    assert [(one.holds, one.fails) for one in found] == [(4.0, 6.0), (8.0, None)]


def test_incomplete_slo_search_has_no_result() -> None:
    lost = bench_run(2, (4.0, bench_results.figures()), why_not="the client was the limit")
    runs = [probe(1, 8.0, 0.2), probe(2, 8.0, 0.2), lost]
    slo = Slo(ttft_ms=100.0)
    assert brackets(bench("slo", runs, wanted=[1, 2], slo=slo, searched=[2])) == []
    again = [*runs, probe(2, 4.0, 1.0)]
    assert len(brackets(bench("slo", again, wanted=[1, 2], slo=slo, searched=[2]))) == 1


def test_measurement_of_version_2_is_read(tmp_path: Path) -> None:
    made = bench("sweep", [bench_run(1, (2.0, bench_results.figures()))], wanted=[1])
    write_bench(made, tmp_path)
    path = tmp_path / FILE
    text = path.read_text()
    old_names = {'"v": 3': '"v": 2', '"requested"': '"asked"', '"requested_rates"': '"asked_rates"'}
    for today, old in old_names.items():
        assert today in text
        text = text.replace(today, old)
    path.write_text(text)
    read = read_bench(tmp_path)
    assert read == made
    assert type(read) is Bench
