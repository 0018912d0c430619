"""The cost of the chaos module: its sign, its interval and its answer must be right, or it proves nothing."""

from __future__ import annotations

import random
from dataclasses import astuple
from pathlib import Path
from statistics import StatisticsError
from typing import get_args

import msgspec
import pytest

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.cost_estimate import (
    FIGURES,
    Answer,
    Estimate,
    FigureCost,
    Targets,
    answer,
    decided,
    figure_costs,
)
from benchmarks.idle_cost.cost_report import HistoryLine, Measurement, append_result, report
from benchmarks.idle_cost.measured_life import IdleTime, Life, Pair
from benchmarks.idle_cost.measured_server import block_of, scenario
from benchmarks.idle_cost.module_states import ModuleState, never_firing
from chaos.inside.inside_kinds import KINDS
from kvchaos.planning.scenario_file import check_fit
from kvchaos.servers.server_registry import ServerEnv
from tests.support.synthetic_records import good_request

BLOCK = Block(
    tokens_per_s=400.0, first_token_ms=50.0, between_tokens_ms=8.0, step_ms=7.0, cpu_us_per_token=2000.0
)
TARGETS = Targets(cost=0.01, control=0.005)
IDLE = IdleTime(10.0, 10.0, 11.0)


def slower(block: Block, by: float) -> Block:
    """The block on a server that takes so many times as long."""
    return Block(
        tokens_per_s=block.tokens_per_s / by,
        first_token_ms=block.first_token_ms * by,
        between_tokens_ms=block.between_tokens_ms * by,
        step_ms=block.step_ms * by,
        cpu_us_per_token=block.cpu_us_per_token * by,
    )


def noisy_lives(lives: int, cost: float, life_noise: float = 0.003, rounds: int = 30) -> list[Life]:
    """Pairs of a machine that drifts by 20 % from pair to pair, and by 1 % within a pair.

    Each server of a life differs by chance.
    """
    lots = random.Random(5)
    return [_life(lots, cost, life_noise, rounds) for _ in range(lives)]


def _life(lots: random.Random, cost: float, noise: float, rounds: int) -> Life:
    own = [lots.gauss(1.0, noise) for _ in range(3)]
    costs, controls = [], []
    for _ in range(rounds):
        block = slower(BLOCK, lots.uniform(0.8, 1.2))
        plain, control, module = (slower(block, each * lots.uniform(0.99, 1.01)) for each in own)
        costs.append(Pair(plain, slower(module, cost)))
        controls.append(Pair(plain, control))
    return Life(costs, controls, IDLE)


@pytest.mark.parametrize("cost", [1.0, 1.03, 0.97])
def test_cost_is_robust_against_drift_of_the_machine(cost: float) -> None:
    for found in figure_costs(noisy_lives(8, cost)):
        assert found.cost.mean == pytest.approx(cost - 1, abs=0.005), found.figure.name
        assert found.cost.low < cost - 1 < found.cost.high, found.figure.name
        assert found.control.low < 0 < found.control.high, found.figure.name


def test_interval_covers_the_true_cost_in_about_95_of_100_measurements() -> None:
    lots = random.Random(3)
    covered = 0
    for _ in range(200):
        lives = [_life(lots, 1.01, 0.004, 7) for _ in range(5)]
        estimate = figure_costs(lives)[0].cost
        covered += estimate.low < 0.01 < estimate.high
    assert 180 <= covered <= 199


def test_difference_of_the_servers_of_a_life_widens_the_interval() -> None:
    alike, unlike = (figure_costs(noisy_lives(6, 1.0, noise))[0].cost for noise in (0.0, 0.02))
    assert unlike.half_width > 3 * alike.half_width


def test_single_life_decides_nothing() -> None:
    found = figure_costs(noisy_lives(1, 1.5))
    assert {answer(each, TARGETS)[0] for each in found} == {"undecided"}
    assert not decided(found, TARGETS)


def test_the_medians_that_are_shown_are_those_of_the_servers() -> None:
    life = Life([Pair(BLOCK, slower(BLOCK, 2.0))] * 3, [Pair(BLOCK, BLOCK)] * 3, IDLE)
    throughput = figure_costs([life] * 2)[0]
    assert (throughput.plain, throughput.module) == (400.0, 200.0)
    assert throughput.cost.mean == pytest.approx(1.0)


def test_two_pairs_with_the_other_order_cancel_the_disadvantage_of_the_first_engine() -> None:
    first, second = slower(BLOCK, 1.04), BLOCK
    orders = [Pair(first, second), Pair(second, first)]
    for found in figure_costs([Life(orders, orders, IDLE)] * 2):
        assert found.cost.mean == pytest.approx(0.0), found.figure.name


def test_no_lives_are_no_figures() -> None:
    with pytest.raises(StatisticsError):
        figure_costs([])


@pytest.mark.parametrize(
    ("cost", "control", "expected"),
    [
        ((-0.004, 0.0099), (-0.004, 0.004), "within"),
        ((-0.02, 0.011), (-0.004, 0.004), "undecided"),
        ((0.009, 0.03), (-0.004, 0.004), "undecided"),
        ((0.0101, 0.03), (-0.004, 0.004), "above"),
        ((-0.004, 0.0099), (-0.006, 0.001), "undecided"),
        ((0.0101, 0.03), (-0.02, 0.02), "undecided"),
        ((0.05, 0.06), (-0.02, 0.02), "above"),
    ],
)
def test_answer_needs_the_whole_interval_and_a_control_that_is_close_to_nothing(
    cost: tuple[float, float], control: tuple[float, float], expected: Answer
) -> None:
    found = FigureCost(FIGURES[0], 1.0, 1.0, *(Estimate(sum(each) / 2, *each) for each in (cost, control)))
    result, reason = answer(found, TARGETS)
    assert result == expected
    assert bool(reason) == (expected == "undecided")


SERVER = ServerEnv(
    name="0.32.0",
    kind="installed",
    vllm="0.32.0",
    torch="2.13.0+cpu",
    python=Path("/env/bin/python"),
    python_version="3.11.7",
    preload=(),
    entry_module="x",
)


def measurement() -> Measurement:
    return Measurement(
        state="idle",
        server=SERVER,
        lives=4,
        rounds=30,
        subject="engines",
        processors="engines on processor 1",
        idle=[IDLE] * 4,
        costs=figure_costs(noisy_lives(4, 1.0)),
        targets=TARGETS,
    )


def test_result_is_appended_to_a_history_as_one_line_a_figure(tmp_path: Path) -> None:
    for _ in range(2):
        append_result(measurement(), tmp_path / "idle-cost.jsonl")
    lines = (tmp_path / "idle-cost.jsonl").read_bytes().splitlines()
    found = [msgspec.json.decode(line, type=HistoryLine) for line in lines]
    assert [line.figure for line in found] == [figure.name for figure in FIGURES] * 2


def test_report_has_a_row_for_each_figure_and_the_idle_times() -> None:
    text = report(measurement())
    assert all(number in text for number in ("10.0", "11.0"))
    assert [figure.name for figure in FIGURES if f"| {figure.name} |" not in text] == []


@pytest.mark.parametrize("state", get_args(ModuleState))
def test_server_of_every_state_fits_its_prompts(state: ModuleState) -> None:
    check_fit(scenario("idle-plain", state))


def test_faults_that_never_fire_cover_every_injection_point() -> None:
    assert {KINDS[fault.kind].site for fault in never_firing()} == {kind.site for kind in KINDS.values()}


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
