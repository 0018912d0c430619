"""Measures what the chaos module costs a server while no fault is armed.

Run by hand, on a quiet machine:

    make bench-idle

Two servers of one release are up at once, one with vLLM's own connector and plain host copies, one with the
chaos module. Both receive blocks of the same prompts in turn (A B B A, B A A B, ...), only one at a time.
Both are restarted for each life. Exit code 0 when every cost is shown to be within the target, 1 when one is
shown to be above it, 2 when neither is shown. Exit code 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Literal

from benchmarks.measured_server import Block, MeasuredServer
from kvchaos.bench.bench_analysis import CONFIDENCE, Interval
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import cache_folder
from kvchaos.planning.run_plan import host
from kvchaos.report.text_tables import markdown_table, replace_between
from kvchaos.servers.server_registry import ServerEnv, find_server

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "idle-cost.md"
MARK = "<!-- costs -->"
HEADINGS = ("figure", "plain", "chaos module", "cost", f"{CONFIDENCE:.0%} interval", "word")
TARGET = 0.01
WARM_UP = 2
"""Blocks of each server that are not counted."""
CALM_S = 3.0
"""What comes after the last request is not idleness."""
IDLE_S = 5.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two blocks of the same prompts, one right after the other."""

    plain: Block
    chaos: Block


@dataclass(frozen=True, slots=True)
class IdleCost:
    """What a figure shows, as a share: 0.01 is one percent worse with the chaos module."""

    figure: str
    unit: str
    plain: float
    """Median over the blocks."""
    chaos: float
    median: float
    """Median of the paired ratios, less one."""
    low: float
    high: float
    """Bounds of the median by bootstrap over the pairs."""


FIGURES: tuple[tuple[str, str, Callable[[Block], float]], ...] = (
    ("throughput", "tokens/s", lambda block: block.tokens_per_s),
    ("time to the first token", "ms", lambda block: block.first_token_ms),
    ("time between tokens", "ms", lambda block: block.between_tokens_ms),
    ("time of an engine step", "ms", lambda block: block.step_ms),
    ("processor time of a token", "µs", lambda block: block.cpu_us_per_token),
)
MORE_IS_BETTER = "throughput"


def costs(pairs: Sequence[Pair]) -> list[IdleCost]:
    """The cost by each figure, from blocks measured in turn on both. Raises ValueError without pairs."""
    if not pairs:
        raise ValueError("no pairs were measured")
    return [_cost(figure, unit, value, pairs) for figure, unit, value in FIGURES]


def _cost(figure: str, unit: str, value: Callable[[Block], float], pairs: Sequence[Pair]) -> IdleCost:
    plain = [value(pair.plain) for pair in pairs]
    chaos = [value(pair.chaos) for pair in pairs]
    worse, better = (plain, chaos) if figure == MORE_IS_BETTER else (chaos, plain)
    ratio = Interval.of([one / other for one, other in zip(worse, better, strict=True)])
    bounds = (ratio.median - 1, ratio.low - 1, ratio.high - 1)
    return IdleCost(figure, unit, median(plain), median(chaos), *bounds)


TargetResult = Literal["within", "above", "undecided"]


def target_result(cost: IdleCost, target: float) -> TargetResult:
    """Whether a cost is shown to lie within a target, shown to lie above it, or neither."""
    if cost.high <= target:
        return "within"
    return "above" if cost.low > target else "undecided"


def measure_incarnation(
    server: ServerEnv, runs: Path, pairs: int, control: bool
) -> tuple[list[Pair], list[float]]:
    """Start both servers, measure, end them. The pairs, and each one's idle processor time, ms a second."""
    other = ("idle-control", False) if control else ("idle-chaos", True)
    with ExitStack() as stack:
        servers = []
        for name, chaos in (("idle-plain", False), other):
            each = MeasuredServer(name, server, cache_folder(), runs, chaos=chaos)
            stack.callback(each.close)
            each.start()
            servers.append(each)
        for each in servers:
            each.wait_ready()
        for number in range(WARM_UP):
            for each in servers:
                each.block(number)
        measured = [_pair(servers, number) for number in range(WARM_UP, WARM_UP + pairs)]
        return measured, _idle_ms(servers)


def _pair(servers: Sequence[MeasuredServer], number: int) -> Pair:
    """Which server gets load first changes from pair to pair: A B, B A, B A, A B."""
    order = (0, 1) if number % 4 in (0, 3) else (1, 0)
    blocks: dict[int, Block] = {index: servers[index].block(number) for index in order}
    return Pair(plain=blocks[0], chaos=blocks[1])


def _idle_ms(servers: Sequence[MeasuredServer]) -> list[float]:
    time.sleep(CALM_S)
    before = [each.cpu_s() for each in servers]
    time.sleep(IDLE_S)
    return [(each.cpu_s() - was) * 1e3 / IDLE_S for each, was in zip(servers, before, strict=True)]


def report(found: Sequence[IdleCost], server: ServerEnv, pairs: int, idle: Sequence[float]) -> str:
    """Date, machine and the table, as Markdown."""
    rows = [
        (
            cost.figure,
            f"{cost.plain:.4g} {cost.unit}",
            f"{cost.chaos:.4g} {cost.unit}",
            f"{cost.median:+.2%}",
            f"{cost.low:+.2%} to {cost.high:+.2%}",
            target_result(cost, TARGET),
        )
        for cost in found
    ]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, vLLM {server.vllm}, torch {server.torch}; {host()}; "
        f"load of the machine {os.getloadavg()[1]:.1f} (5 minutes).\n"
        f"{pairs} pairs. Processor time while idle: plain {idle[0]:.1f}, "
        f"with the chaos module {idle[1]:.1f} ms a second.\n\n{markdown_table(HEADINGS, rows)}"
    )


def exit_code(results: Iterable[TargetResult]) -> int:
    """0 when all costs are within the target, 1 when one is above it, 2 otherwise."""
    distinct = set(results)
    if "above" in distinct:
        return 1
    return 0 if distinct == {"within"} else 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Measure what the chaos module costs when nothing is armed.")
    parser.add_argument("--server", default="0.32.0", help="server environment")
    parser.add_argument("--lives", type=int, default=2, help="how often both servers are started")
    parser.add_argument("--pairs", type=int, default=16, help="pairs of blocks in each life")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "idle", help="folder for the runs")
    parser.add_argument(
        "--control", action="store_true", help="two plain servers: the measure's own error; writes no page"
    )
    chosen = parser.parse_args(arguments)
    try:
        with interrupts():
            return measure(chosen)
    except (Interrupted, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3


def measure(chosen: argparse.Namespace) -> int:
    """Measure as requested, and write the page. Raises UsageError, Interrupted."""
    server = find_server(chosen.server, cache_folder())
    pairs: list[Pair] = []
    idle: list[list[float]] = []
    for life in range(chosen.lives):
        measured, idle_ms = measure_incarnation(server, chosen.runs.absolute(), chosen.pairs, chosen.control)
        pairs += measured
        idle.append(idle_ms)
        sys.stdout.write(f"life {life + 1} of {chosen.lives}: {len(measured)} pairs\n")
        sys.stdout.flush()
    found = costs(pairs)
    text = report(found, server, len(pairs), [sum(values) / len(idle) for values in zip(*idle, strict=True)])
    sys.stdout.write(text)
    if not chosen.control:
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return exit_code(target_result(cost, TARGET) for cost in found)


if __name__ == "__main__":
    sys.exit(main())
