"""Measures what the chaos module costs a server.

Run by hand, on a quiet machine:

    make bench-idle

Two engines of one release run on one processor, and their steps alternate. One has vLLM's own connector and
plain host copies. The other has the chaos module, or is plain as well for the control. With `--whole-servers`
they are three servers, which receive blocks of load in turn. All are built again for each life. More lives
follow until each figure has an answer, or the time is over. Exit code 0 when every cost is within the target,
1 when one is above it, 2 when the measurement cannot tell. Exit code 3 when it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import get_args

from benchmarks.idle_cost import engine_lives, server_lives
from benchmarks.idle_cost.cost_estimate import Targets, answer, decided, figure_costs
from benchmarks.idle_cost.cost_report import Measurement, Subject, append_result, report
from benchmarks.idle_cost.measured_engines import MeasuredEngines
from benchmarks.idle_cost.measured_life import Life
from benchmarks.idle_cost.measured_server import BenchFolders, Processors
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import cache_folder
from kvchaos.report.text_tables import replace_between
from kvchaos.servers.server_registry import find_server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "idle-cost.md"
MARK = "<!-- costs {state} -->"
TARGETS: dict[ModuleState, float] = {"idle": 0.01, "armed": 0.02, "ledger": 0.05, "audit": 0.1}
CONTROL_TARGET = 0.005
ROUNDS: dict[Subject, int] = {"engines": 12, "servers": 30}
MIN_LIVES = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the measurement; returns its exit code, 3 when it cannot be measured."""
    chosen = _parser().parse_args(arguments)
    try:
        with interrupts():
            return measure(chosen)
    except (Interrupted, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure what the chaos module costs a server.")
    parser.add_argument("--server", default="0.32.0", help="server environment")
    parser.add_argument("--state", choices=get_args(ModuleState)[1:], default="idle", help="of the module")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no life that would end later")
    parser.add_argument("--rounds", type=int, help="rounds of blocks in each life")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "idle", help="folder for the runs")
    subject = parser.add_mutually_exclusive_group()
    subject.add_argument("--processor", type=int, help="of the engines; the last one if left out")
    subject.add_argument("--whole-servers", action="store_true", help="servers instead of engines")
    parser.add_argument(
        "--apart", action="store_true", help="last processor for servers, the others for load"
    )
    parser.add_argument("--history", type=Path, help="file of JSON Lines that the result is appended to")
    parser.add_argument("--page", action="store_true", help="write the result to docs/idle-cost.md")
    return parser


def measure(chosen: argparse.Namespace) -> int:
    """Measure as requested, and report. Raises UsageError, Interrupted."""
    subject: Subject = "servers" if chosen.whole_servers else "engines"
    targets = Targets(TARGETS[chosen.state], CONTROL_TARGET)
    chosen.rounds = chosen.rounds or ROUNDS[subject]
    lives, processors = (
        _server_lives(chosen, targets) if chosen.whole_servers else _engine_lives(chosen, targets)
    )
    result = Measurement(
        state=chosen.state,
        subject=subject,
        server=find_server(chosen.server, cache_folder()),
        lives=len(lives),
        rounds=chosen.rounds,
        processors=processors,
        idle=[life.idle for life in lives],
        costs=figure_costs(lives),
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


def _engine_lives(chosen: argparse.Namespace, targets: Targets) -> tuple[list[Life], str]:
    """The lives, and which processors they used."""
    server = find_server(chosen.server, cache_folder())
    processor = max(os.sched_getaffinity(0)) if chosen.processor is None else chosen.processor
    if processor not in os.sched_getaffinity(0):
        raise UsageError(f"--processor {processor}: choose one of {sorted(os.sched_getaffinity(0))}")
    with closing(MeasuredEngines(server, _folders(chosen), {processor})) as engines:
        engines.start()
        return (
            _lives(
                lambda life: engine_lives.measure_engines(engines, chosen.state, life, chosen.rounds),
                targets,
                chosen.minutes,
            ),
            f"engines on processor {processor}",
        )


def _server_lives(chosen: argparse.Namespace, targets: Targets) -> tuple[list[Life], str]:
    """The lives, and which processors they used."""
    server = find_server(chosen.server, cache_folder())
    processors = Processors.apart() if chosen.apart else Processors.shared()

    def measure_one(_life: int) -> Life:
        if chosen.state == "armed":
            return server_lives.measure_switched_life(server, chosen.rounds, _folders(chosen), processors)
        return server_lives.measure_life(server, chosen.state, chosen.rounds, _folders(chosen), processors)

    used = "servers and load on processors of their own" if chosen.apart else "all processors shared"
    return _lives(measure_one, targets, chosen.minutes), used


def _folders(chosen: argparse.Namespace) -> BenchFolders:
    return BenchFolders(cache_folder(), chosen.runs.absolute())


def _lives(measure_one: Callable[[int], Life], targets: Targets, minutes: float) -> list[Life]:
    """Lives, until each figure has an answer or the time is over."""
    lives: list[Life] = []
    began = time.monotonic()
    while _another(lives, targets, (time.monotonic() - began) / 60, minutes):
        lives.append(measure_one(len(lives)))
        sys.stdout.write(f"life {len(lives)}: {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    return lives


def _another(lives: Sequence[Life], targets: Targets, spent_min: float, minutes: float) -> bool:
    """Whether to measure one more life."""
    if len(lives) < MIN_LIVES:
        return True
    if decided(figure_costs(lives), targets):
        return False
    return spent_min * (len(lives) + 1) / len(lives) <= minutes


if __name__ == "__main__":
    sys.exit(main())
