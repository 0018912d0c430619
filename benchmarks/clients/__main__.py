"""Compares load clients: the cost of each, and the error of its times.

Run by hand:

    make bench-client

Installs the tools of others into the cache folder, runs all clients in turn against the mock server, and
writes the tables into docs/performance.md. Exit code 0 when each target is met, 1 when one is missed, 3 when
it could not be measured.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec
from rich.console import Console

from benchmarks.clients import client_tables
from benchmarks.clients.client_figures import ClientFigures, ClientRunFailed
from benchmarks.clients.client_load import ClientLoad
from benchmarks.clients.client_run import MeasuredClient, other_client, our_client, run
from benchmarks.clients.other_tools import TOOLS, ensure_environment
from kvchaos.errors import Interrupted, UsageError, interrupts
from kvchaos.paths import LogFolder, bench_tools_folder, cache_folder, logs_folder, models_folder
from kvchaos.planning.open_file_limits import needs_of_client_bench, raise_limit
from kvchaos.planning.run_plan import host
from kvchaos.report.text_tables import replace_between
from kvchaos.servers import tiny_model
from kvchaos.servers.installation import CommandFailed, PlainProgress
from loadtests.mock.mock_process import MockFailed

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
MARK = "<!-- clients -->"
ROUNDS = 5
LIMIT = "limit"
PACED = ClientLoad("paced", gap_ms=10.0, at_once=64, seconds=9.0, requests=400)
UNPACED = ClientLoad("without gaps", gap_ms=0.0, at_once=64, seconds=6.0, requests=2500)
MOST = {
    "kvchaos openai": ClientLoad(LIMIT, gap_ms=10.0, at_once=640, seconds=8.0),
    "kvchaos lean": ClientLoad(LIMIT, gap_ms=10.0, at_once=1280, seconds=8.0),
}
"""More at once than each of ours can serve."""
AT_ONCE = 2000
HALF_S = 8.0


def half(most: float) -> ClientLoad:
    """An open loop at half of the most requests/s that one of ours has managed."""
    rate = most / 2
    name = f"{rate:.0f} requests/s"
    return ClientLoad(
        name, gap_ms=10.0, at_once=AT_ONCE, seconds=HALF_S, rate=rate, requests=round(rate * HALF_S)
    )


class ClientComparison:
    """Runs clients in turn under the same load, and keeps their figures and failures."""

    def __init__(self, clients: Sequence[MeasuredClient], console: Console, logs: LogFolder) -> None:
        self._logs = logs
        self._clients = {client.name: client for client in clients}
        self._console = console
        self.failures: dict[tuple[str, str], str] = {}
        """Why another's client could not be measured at a load; by its name and the load's."""

    def run(self, name: str, load: ClientLoad) -> ClientFigures:
        """Once more where it gave no figures, as on a machine that stood still. Raises RunFailed."""
        try:
            return self._run(name, load)
        except ClientRunFailed as error:
            self._console.print(f"{name}, {load.name}: {error}; once more", highlight=False)
            return self._run(name, load)

    def _run(self, name: str, load: ClientLoad) -> ClientFigures:
        with self._logs.scratch(name.replace(" ", "-")) as folder:
            found = run(self._clients[name], load, folder)
        self._console.print(
            f"{name}, {load.name}: {found.requests_per_s:.1f} requests/s, {found.events_per_s:.0f} events/s, "
            f"{found.events_per_cpu_s:.0f} per CPU-second, TTFT error {found.ttft_error_ms} ms",
            highlight=False,
        )
        return found

    def round(self, loads: Sequence[tuple[ClientLoad, Sequence[str]]]) -> Iterator[ClientFigures]:
        """Each load through its clients, one after the other. Raises RunFailed when one of ours fails."""
        for load, names in loads:
            for name in names:
                try:
                    yield self.run(name, load)
                except ClientRunFailed as error:
                    if name in client_tables.OURS:
                        raise
                    self.failures[name, load.name] = str(error)


@dataclass(frozen=True)
class ComparisonResult:
    """All figures of a comparison, with the clients that could not be measured."""

    halves: dict[str, ClientLoad]
    """Each client of ours, by its name."""
    rounds: list[list[ClientFigures]]
    failures: dict[tuple[str, str], str]


def measure(rounds: int, console: Console, keep: Path | None) -> ComparisonResult:
    """Raises what `ClientComparison` and `ensure_environment` raise."""
    cache = cache_folder()
    raise_limit(needs_of_client_bench(max(AT_ONCE, *(load.at_once for load in MOST.values())), workers=1))
    logs = LogFolder(logs_folder(cache) / "bench-client")
    logs.empty()
    tokenizer = tiny_model.ensure_model(models_folder(cache))
    tools = [
        other_client(
            tool, ensure_environment(tool, bench_tools_folder(cache), PlainProgress(console)), tokenizer
        )
        for tool in TOOLS
    ]
    bench = ClientComparison([*tools, our_client("openai"), our_client("lean")], console, logs)
    everybody = [tool.name for tool in tools] + list(client_tables.OURS)
    halves = {name: half(bench.run(name, load).requests_per_s) for name, load in MOST.items()}
    loads = [
        (PACED, everybody),
        (UNPACED, everybody),
        (halves["kvchaos openai"], everybody),
        # No other comes near this rate.
        (halves["kvchaos lean"], ["kvchaos lean"]),
        *((load, [name]) for name, load in MOST.items()),
    ]
    measured: list[list[ClientFigures]] = []
    for _ in range(rounds):
        measured.append(list(bench.round(loads)))
        if keep:
            keep.write_bytes(msgspec.json.format(msgspec.json.encode(measured)))
    return ComparisonResult(halves, measured, bench.failures)


def report(measured: ComparisonResult) -> str:
    """The result as Markdown: a table for each load, then the bounds that are met or missed."""
    halves, rounds = measured.halves, measured.rounds
    # In the order in which they were run first.
    loads = list(dict.fromkeys(one.load for each in rounds for one in each))
    times = [
        found for load in (PACED.name, UNPACED.name) for found in client_tables.speed_ratios(rounds, load)
    ]
    parts = [
        f"{datetime.now(UTC):%Y-%m-%d}, openai {version('openai')}, Python {sys.version.split()[0]}; "
        f"{host()}; load of the machine {os.getloadavg()[1]:.1f} (5 minutes). Rounds: {len(rounds)}.\n",
        *(f"{load}:\n\n{client_tables.table(rounds, load)}" for load in loads),
        "".join(
            [
                *client_tables.speed_lines(times),
                *(client_tables.accuracy_line(rounds, load.name, client) for client, load in halves.items()),
                *client_tables.failure_lines(measured.failures),
            ]
        ),
        client_tables.headroom(rounds),
    ]
    return "\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the comparison; returns the exit code: 0, or 3 when it cannot be measured."""
    parser = argparse.ArgumentParser(description="Measure load clients side by side.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", type=Path, help="write all figures there, as JSON, after each round")
    chosen = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        with interrupts():
            measured = measure(chosen.rounds, console, chosen.keep)
    except (UsageError, Interrupted, ClientRunFailed, CommandFailed, MockFailed, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 3
    text = report(measured)
    sys.stdout.write(text)
    PAGE.write_text(replace_between(PAGE.read_text(encoding="utf-8"), MARK, text), encoding="utf-8")
    return 0 if "no\n" not in text else 1


if __name__ == "__main__":
    sys.exit(main())
