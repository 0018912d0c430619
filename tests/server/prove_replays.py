"""Tests whether a replay strikes what its run struck. Run by hand.

    python -m tests.server.prove_replays --server 0.32.0 --count 20

Records runs of a scenario with several kinds of faults, each with a seed of its own, replays each, and
compares what fired: every fault with its arrival. Exit code 0 when all are equal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from kvchaos.paths import cache_folder
from tests.server.bench import ROOT, Bench, Finished, RunDir

SCENARIO = Path(__file__).parent / "mixed-faults.yaml"
Fired = tuple[str | None, int | None]
"""Fault and arrival."""


def fired(run: RunDir) -> set[Fired]:
    """The strikes of a run as pairs of fault and invocation."""
    return {(line.fault, line.n) for line in run.journal("fired")}


def differences(first: RunDir, again: RunDir) -> Iterator[str]:
    """One line each: what fired in one of the two runs alone, and how many arrivals the other had there."""
    one, other = fired(first), fired(again)
    for fault, n in sorted(one - other, key=str):
        yield f"{fault} {n} was not struck again: {_arrivals(again, fault)} arrivals in the replay"
    for fault, n in sorted(other - one, key=str):
        yield f"{fault} {n} was struck in the replay alone"


def _arrivals(run: RunDir, fault: str | None) -> int | None:
    """None when the fault was not healed, or not armed."""
    return next((line.n for line in run.journal("healed", fault)), None)


class Prover:
    """Records and replays on one server."""

    def __init__(self, server: str, runs: Path) -> None:
        self._bench = Bench(ROOT, cache_folder())
        self._server = server
        self._runs = runs

    def prove(self, seed: int) -> list[str]:
        """How the replay of a run with this seed differs from it."""
        first = self._run(str(SCENARIO), "--server", self._server, "--seed", str(seed))
        if isinstance(first, str):
            return [first]
        if not fired(first):
            return ["nothing fired"]
        again = self._run("--replay", str(first.path))
        return [again] if isinstance(again, str) else list(differences(first, again))

    def _run(self, *arguments: str) -> RunDir | str:
        """The run, or why there is none."""
        finished = self._bench.run("run", *arguments, "--runs", str(self._runs))
        return finished.run() if finished.runs() else _failure_line(finished)


def _failure_line(finished: Finished) -> str:
    """Exit code and last output of a failed command, in one line."""
    return f"exit code {finished.code}: {(finished.err.strip() or finished.out.strip())[-300:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Replay runs with their faults and compare the strikes."""
    parser = argparse.ArgumentParser(description="Compare replays with their runs.")
    parser.add_argument("--server", required=True, help="server environment")
    parser.add_argument("--count", type=int, default=20, help="runs that are replayed")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the others count up")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "replays", help="folder for the runs")
    chosen = parser.parse_args(arguments)
    prover, equal = Prover(chosen.server, chosen.runs.absolute()), 0
    for seed in range(chosen.seed, chosen.seed + chosen.count):
        found = prover.prove(seed)
        equal += not found
        differences = "".join(f"\n    {line}" for line in found)
        sys.stdout.write(f"{chosen.server}, seed {seed}: {'differs' if found else 'equal'}{differences}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{equal} of {chosen.count} equal\n")
    return 0 if equal == chosen.count else 1


if __name__ == "__main__":
    sys.exit(main())
