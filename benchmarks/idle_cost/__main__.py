"""Measures what the chaos module costs a server.

Run by hand, on a quiet machine:

    make bench-idle

Three servers of one release are up at once: two with vLLM's own connector and plain host copies, one with the
chaos module. They receive blocks of the same prompts in turn, only one at a time, in all orders equally
often. The cost of armed faults is measured on one server, which is armed for one of three blocks. All servers
are restarted for each life. More lives are measured until each figure has an answer, or the time
is over. Exit code 0 when every cost is within the target, 1 when one is above it, 2 when the measurement
cannot tell. Exit code 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.idle_cost.cost_estimate import Round, Targets, answer, decided, figure_costs
from benchmarks.idle_cost.cost_report import IdleTime, Measurement, append_result, report
from benchmarks.idle_cost.measured_server import BenchFolders, Block, MeasuredServer, Processors
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import cache_folder
from kvchaos.report.text_tables import replace_between
from kvchaos.servers.server_registry import ServerEnv, find_server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "idle-cost.md"
MARK = "<!-- costs {state} -->"
TARGETS: dict[ModuleState, float] = {"idle": 0.01, "armed": 0.02, "ledger": 0.05, "audit": 0.1}
CONTROL_TARGET = 0.005
WARM_UP = 2
"""Blocks of each server that are not counted."""
CALM_S = 3.0
"""What comes after the last request is not idleness."""
IDLE_S = 5.0
MIN_LIVES = 3
ORDERS = tuple(itertools.permutations(range(3)))
"""The orders of the servers, or of the states of one server, in consecutive rounds."""
ARMED = 2
"""Index of the armed state."""


@dataclass(frozen=True, slots=True)
class Life:
    """What one start of the servers gave."""

    rounds: list[Round]
    idle: IdleTime


def measure_life(
    server: ServerEnv, state: ModuleState, rounds: int, folders: BenchFolders, processors: Processors
) -> Life:
    """Start the servers, measure, end them. Raises UsageError."""
    with ExitStack() as stack:
        servers = []
        states: tuple[tuple[str, ModuleState], ...] = (
            ("plain", "absent"),
            ("control", "absent"),
            ("module", state),
        )
        for name, own in states:
            each = MeasuredServer(f"idle-{name}", server, own, folders, processors)
            stack.callback(each.close)
            each.start()
            servers.append(each)
        for each in servers:
            each.wait_ready()
        for number in range(WARM_UP):
            for each in servers:
                each.block(number)
        measured = [_round(servers, number) for number in range(WARM_UP, WARM_UP + rounds)]
        return Life(measured, IdleTime(*_idle_ms(*servers)))


def measure_switched_life(
    server: ServerEnv, rounds: int, folders: BenchFolders, processors: Processors
) -> Life:
    """Start one server, and arm it for one block of each round: no other server differs by chance.

    Raises UsageError.
    """
    measured = MeasuredServer("idle-switched", server, "armed", folders, processors)
    with ExitStack() as stack:
        stack.callback(measured.close)
        measured.start()
        measured.wait_ready()
        for number in range(WARM_UP):
            measured.block(number)
        blocks = itertools.count(WARM_UP)
        found = [_switched_round(measured, ORDERS[each % len(ORDERS)], blocks) for each in range(rounds)]
        healed = (*_idle_ms(measured), *_idle_ms(measured))
        with measured.armed():
            return Life(found, IdleTime(*healed, *_idle_ms(measured)))


def _switched_round(server: MeasuredServer, order: Sequence[int], blocks: Iterator[int]) -> Round:
    """Two blocks with nothing armed, and one with all faults armed, in this order."""
    found: dict[int, Block] = {}
    for index in order:
        with server.armed() if index == ARMED else nullcontext():
            found[index] = server.block(next(blocks))
    return Round(plain=found[0], control=found[1], module=found[ARMED])


def _idle_ms(*servers: MeasuredServer) -> list[float]:
    """Processor time of servers without a request, ms a second."""
    time.sleep(CALM_S)
    before = [each.cpu_s() for each in servers]
    time.sleep(IDLE_S)
    return [(each.cpu_s() - was) * 1e3 / IDLE_S for each, was in zip(servers, before, strict=True)]


def _round(servers: Sequence[MeasuredServer], number: int) -> Round:
    blocks: dict[int, Block] = {index: servers[index].block(number) for index in ORDERS[number % len(ORDERS)]}
    return Round(plain=blocks[0], control=blocks[1], module=blocks[2])


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Measure what the chaos module costs a server.")
    parser.add_argument("--server", default="0.32.0", help="server environment")
    parser.add_argument("--state", choices=get_args(ModuleState)[1:], default="idle", help="of the module")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no life that would end later")
    parser.add_argument("--rounds", type=int, default=30, help="rounds of blocks in each life")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "idle", help="folder for the runs")
    parser.add_argument("--apart", action="store_true", help="servers on the last processor, load on others")
    parser.add_argument("--history", type=Path, help="file of JSON Lines that the result is appended to")
    parser.add_argument("--page", action="store_true", help="write the result to docs/idle-cost.md")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts():
            return measure(chosen)
    except (Interrupted, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3


def measure(chosen: argparse.Namespace) -> int:
    """Measure as requested, and report. Raises UsageError, Interrupted."""
    server = find_server(chosen.server, cache_folder())
    folders = BenchFolders(cache_folder(), chosen.runs.absolute())
    processors = Processors.apart() if chosen.apart else Processors.shared()
    targets = Targets(TARGETS[chosen.state], CONTROL_TARGET)
    lives: list[Life] = []
    began = time.monotonic()
    while _another(lives, targets, (time.monotonic() - began) / 60, chosen.minutes):
        lives.append(
            measure_switched_life(server, chosen.rounds, folders, processors)
            if chosen.state == "armed"
            else measure_life(server, chosen.state, chosen.rounds, folders, processors)
        )
        sys.stdout.write(f"life {len(lives)}: {chosen.rounds} rounds, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    result = Measurement(
        state=chosen.state,
        server=server,
        lives=len(lives),
        rounds=chosen.rounds,
        apart=chosen.apart,
        idle=[life.idle for life in lives],
        costs=figure_costs([life.rounds for life in lives]),
        targets=targets,
    )
    text = report(result)
    sys.stdout.write(text)
    if chosen.history is not None:
        append_result(result, chosen.history)
    if chosen.page:
        mark = MARK.format(state=chosen.state)
        PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), mark, text), encoding="utf-8")
    answers = {answer(each, targets)[0] for each in result.costs}
    return 1 if "above" in answers else 2 if "undecided" in answers else 0


def _another(lives: Sequence[Life], targets: Targets, spent_min: float, minutes: float) -> bool:
    """Whether to measure one more life."""
    if len(lives) < MIN_LIVES:
        return True
    if decided(figure_costs([life.rounds for life in lives]), targets):
        return False
    return spent_min * (len(lives) + 1) / len(lives) <= minutes


if __name__ == "__main__":
    sys.exit(main())
