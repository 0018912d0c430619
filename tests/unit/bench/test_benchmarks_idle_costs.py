"""The cost of an idle module: its sign, its interval and its word must be right, or it proves nothing."""

from __future__ import annotations

import random
from dataclasses import astuple

import msgspec
import pytest

from benchmarks.idle import IdleCost, Pair, TargetResult, costs, exit_code, target_result
from benchmarks.measured_server import Block, block_of
from tests.support.synthetic_records import good_request

BLOCK = Block(
    tokens_per_s=400.0, first_token_ms=50.0, between_tokens_ms=8.0, step_ms=7.0, cpu_us_per_token=2000.0
)


def slower(block: Block, by: float) -> Block:
    """The block on a server that takes so many times as long."""
    return Block(
        tokens_per_s=block.tokens_per_s / by,
        first_token_ms=block.first_token_ms * by,
        between_tokens_ms=block.between_tokens_ms * by,
        step_ms=block.step_ms * by,
        cpu_us_per_token=block.cpu_us_per_token * by,
    )


def noisy_pairs(count: int, cost: float) -> list[Pair]:
    """Pairs of a machine that drifts by 20 % from pair to pair, and by 1 % within a pair."""
    lots = random.Random(5)
    blocks = [slower(BLOCK, lots.uniform(0.8, 1.2)) for _ in range(count)]
    return [Pair(block, slower(block, cost * lots.uniform(0.99, 1.01))) for block in blocks]


@pytest.mark.parametrize("cost", [1.0, 1.03, 0.97])
def test_idle_cost_is_robust_against_drift(cost: float) -> None:
    for found in costs(noisy_pairs(30, cost)):
        assert found.low <= found.median <= found.high
        assert found.median == pytest.approx(cost - 1, abs=0.005), found.figure
        assert found.low < cost - 1 < found.high, found.figure


def test_the_medians_that_are_shown_are_those_of_the_servers() -> None:
    found = {cost.figure: cost for cost in costs([Pair(BLOCK, slower(BLOCK, 2.0))] * 3)}
    throughput = found["throughput"]
    assert (throughput.plain, throughput.chaos, throughput.median) == (400.0, 200.0, 1.0)


def test_more_pairs_make_the_interval_narrower() -> None:
    few, many = costs(noisy_pairs(8, 1.0))[0], costs(noisy_pairs(80, 1.0))[0]
    assert many.high - many.low < few.high - few.low


def test_no_pairs_are_no_figures() -> None:
    with pytest.raises(ValueError, match="pairs"):
        costs([])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-0.004, 0.0099, "within"),
        (-0.02, 0.011, "undecided"),
        (0.009, 0.03, "undecided"),
        (0.0101, 0.03, "above"),
    ],
)
def test_cost_is_within_or_above_its_bound_by_its_whole_interval(
    low: float, high: float, expected: TargetResult
) -> None:
    assert (
        target_result(IdleCost("throughput", "tokens/s", 1.0, 1.0, (low + high) / 2, low, high), 0.01)
        == expected
    )


@pytest.mark.parametrize(
    ("results", "code"),
    [(["within", "within"], 0), (["within", "undecided"], 2), (["undecided", "above"], 1), ([], 2)],
)
def test_exit_code_is_zero_only_if_every_cost_is_decided(results: list[TargetResult], code: int) -> None:
    assert exit_code(results) == code


def test_measured_block_is_summarized_from_its_requests() -> None:
    # Four tokens each, the first after 20 and 40 ms, the last 40 and 60 ms later; 200 ms in all.
    first = good_request("a", "p", "block-0", 1_000_000_000)
    second = good_request("b", "q", "block-0", 1_100_000_000)
    late = msgspec.structs.replace(second, first_us=40_000, chunk_us=[40_000, 70_000, 100_000])
    block = block_of([first, late], cpu_s=0.016, steps=10)
    expected = Block(
        tokens_per_s=8 / 0.2,
        first_token_ms=30.0,
        between_tokens_ms=100 / 6,
        step_ms=200 / 10,
        cpu_us_per_token=2000.0,
    )
    assert astuple(block) == pytest.approx(astuple(expected))
