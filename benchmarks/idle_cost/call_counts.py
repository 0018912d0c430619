"""How many functions an engine calls during a block of requests, by the state of the chaos module.

Run by hand: `python -m benchmarks.idle_cost.call_counts --server 0.32.0`. The count is exact where a time is
not: a module that is out of the way adds no call. Exit code 3 when it could not be counted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.idle_cost.measured_engines import MeasuredEngines
from benchmarks.idle_cost.measured_life import WARM_UP
from benchmarks.idle_cost.measured_server import BenchFolders
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import cache_folder
from kvchaos.report.text_tables import markdown_table
from kvchaos.servers.server_registry import ServerEnv, find_server

ROOT = Path(__file__).parents[2]
STATES: tuple[ModuleState, ...] = ("absent", "idle", "armed")
BLOCKS = 3
"""The least of so many blocks counts: a copy that ends a step later adds calls of vLLM."""
HEADINGS = ("the module", "calls of Python functions", "calls of C functions")


def count_calls(
    server: ServerEnv, folders: BenchFolders, states: Sequence[ModuleState] = STATES
) -> dict[str, tuple[int, int]]:
    """Calls of Python functions and of C functions in a block, by state. Raises UsageError."""
    with closing(MeasuredEngines(server, folders, os.sched_getaffinity(0))) as engines:
        engines.start()
        for state in states:
            engines.build(state, state, 0)
        for _ in range(WARM_UP):
            engines.block()
        if "armed" in states:
            engines.arm("armed")
        counted = [engines.calls() for _ in range(BLOCKS)]
    return {state: min(block[state] for block in counted) for state in states}


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Count the calls of an engine's functions.")
    parser.add_argument("--server", default="0.32.0", help="server environment")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "idle", help="folder for the runs")
    chosen = parser.parse_args(arguments)
    try:
        with interrupts():
            server = find_server(chosen.server, cache_folder())
            found = count_calls(server, BenchFolders(cache_folder(), chosen.runs.absolute()))
    except (Interrupted, UsageError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    rows = [(state, *(f"{count:,}" for count in counts)) for state, counts in found.items()]
    sys.stdout.write(markdown_table(HEADINGS, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
