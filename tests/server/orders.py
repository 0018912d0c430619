"""All local scenarios in random orders with shared servers, and on fresh ones: run by name.

    python -m tests.server.orders --orders 5 --seed 1
    python -m tests.server.orders --orders 5 --seed 1 --skip 2 --fresh FOLDER/fresh/runs   # to go on

Scenarios of equal server settings stay together, so that servers are shared; the groups and what is in them
are shuffled. Each run must end as it does on a fresh server: the same outcome of the same causes. Exit code 1
when any differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from history.scenario import ServerSettings
from kvchaos.planning.scenario_file import load_scenario, scenario_files
from tests.server.bench import NEW, Bench, RunDir, own_cache

CAMPAIGN_S = 3600.0


@dataclass(frozen=True)
class Ended:
    """How a scenario ended."""

    outcome: str
    causes: tuple[str, ...]
    """Rules that were broken and follow from no other finding."""
    rules: tuple[str, ...] = field(compare=False)
    """All that were broken. When a server dies, chance decides which follow."""


@dataclass(frozen=True)
class Campaign:
    """The results of one campaign, its server starts and its duration."""

    ended: Mapping[str, Ended]
    starts: int
    seconds: float


def shuffled(chance: random.Random) -> list[str]:
    """The local scenarios, those of equal server settings together."""
    groups: dict[ServerSettings, list[str]] = {}
    for scenario in map(load_scenario, scenario_files()):
        if "local" in scenario.stacks:
            groups.setdefault(scenario.server, []).append(scenario.name)
    ordered = list(groups.values())
    chance.shuffle(ordered)
    for group in ordered:
        chance.shuffle(group)
    return [name for group in ordered for name in group]


def campaign(bench: Bench, names: Sequence[str], seed: int, *options: str) -> Campaign:
    """Run the scenarios in one campaign and collect the results."""
    began = time.monotonic()
    bench.folder.mkdir()
    arguments = ("run", *names, "--server", NEW, "--seed", str(seed), *options)
    finished = bench.run(*arguments, deadline_s=CAMPAIGN_S)
    runs = [run for run in finished.runs() if run.history.plan.repeats is None]
    if len(runs) != len(names):
        raise SystemExit(f"{len(runs)} of {len(names)} runs: {finished.out}{finished.err}")
    return Campaign(
        {run.scenario: _ended(run) for run in runs},
        sum(not run.history.plan.preceded_by for run in runs),
        time.monotonic() - began,
    )


def earlier(folder: Path) -> Campaign:
    """A fresh campaign that was run before, by its run directories."""
    runs = [RunDir(path) for path in sorted(folder.iterdir())]
    return Campaign({run.scenario: _ended(run) for run in runs}, len(runs), 0.0)


def _ended(run: RunDir) -> Ended:
    """Outcome, causes and violated rules of a run."""
    causes = sorted(cause.rule for cause in run.verdict.causes)
    rules = sorted(rule for result in run.verdict.results for rule in result.by_rule)
    return Ended(run.verdict.outcome, tuple(causes), tuple(rules))


def differences(fresh: Campaign, shared: Campaign) -> list[str]:
    """One line for each scenario whose result differs on a shared server."""
    return [
        f"{name}: fresh {fresh.ended[name]}, shared {ended}"
        for name, ended in sorted(shared.ended.items())
        if ended != fresh.ended[name]
    ]


def other_findings(fresh: Campaign, shared: Campaign) -> list[str]:
    """Where the outcomes are the same, and the broken rules are not."""
    return [
        f"{name}: rules broken on one side only: {', '.join(sorted({*ended.rules} ^ {*alone.rules}))}"
        for name, ended in sorted(shared.ended.items())
        if ended == (alone := fresh.ended[name]) and ended.rules != alone.rules
    ]


def main() -> int:
    """Compare campaigns in random orders on shared servers with one on fresh servers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fresh", type=Path, help="Run directories of an earlier fresh campaign.")
    parser.add_argument("--skip", type=int, default=0, help="Orders that were run before.")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    folder = Path(tempfile.mkdtemp(prefix="orders-"))
    cache, found = own_cache(folder), 0
    names = shuffled(chance)
    if arguments.fresh is None:
        fresh = campaign(Bench(folder / "fresh", cache), names, arguments.seed, "--fresh")
        _print(f"fresh: {fresh.starts} starts, {fresh.seconds:.0f} s")
    else:
        fresh = earlier(arguments.fresh)
    for number in range(arguments.orders):
        names = shuffled(chance)
        if number < arguments.skip:
            continue
        shared = campaign(Bench(folder / f"order-{number}", cache), names, arguments.seed)
        lines = differences(fresh, shared)
        found += len(lines)
        _print(f"order {number}: {shared.starts} starts, {shared.seconds:.0f} s, {len(lines)} differences")
        for line in (*lines, *other_findings(fresh, shared)):
            _print(f"  {line}")
    _print(f"runs are in {folder}")
    return int(found > 0)


def _print(line: str) -> None:
    """Write a line to the terminal at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
