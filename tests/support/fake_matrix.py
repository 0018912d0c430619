"""A machine without servers for the tests of the matrix, and orders for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from history.scenario import Scenario
from history.verdict import Outcome, RunVerdict
from kvchaos.errors import UsageError
from kvchaos.matrix.digests import Code
from kvchaos.matrix.filling import Order, fill
from kvchaos.matrix.local_machine import OnRow
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.terminal.result_tables import CampaignRow

CODE = Code(making="m1", judging="j1")
NAMES = ("baseline-offload", "corruption-canary", "aborts")
DAY = "2026-11-30"


def scenarios(*names: str) -> list[Scenario]:
    """Packaged scenarios by name; without names those of the matrix tests."""
    return [load_scenario(find_scenario(name)) for name in names or NAMES]


def order(*releases: str) -> Order:
    """An order to fill the matrix for these releases with seed 1."""
    return Order(releases=releases or ("0.18.0",), scenarios=scenarios(), seed=1, bugs=(), code=CODE)


def verdict(scenario: str, release: str, run: str, outcome: Outcome = "as expected") -> RunVerdict:
    """The verdict of a run of one cell."""
    return RunVerdict(
        run_id=run,
        scenario=scenario,
        server=release,
        seed=1,
        outcome=outcome,
        reasons=[] if outcome == "as expected" else ["why"],
        expected_failures=[],
        issue=None,
        results=[],
    )


@dataclass
class FakeMachine:
    """Notes what is done with it."""

    installed: set[str] = field(default_factory=set)
    ours: set[str] = field(default_factory=set)
    """Environments that a matrix installed."""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    problem: str = "the server does not start"
    """Scenarios that cannot be run."""
    stop_after: int | None = None
    """Runs until Ctrl-C."""
    not_to_be_had: set[str] = field(default_factory=set)
    """Releases that cannot be installed."""
    stored: set[str] = field(default_factory=set)
    """Run directories."""
    unreadable: set[str] = field(default_factory=set)
    ran: list[tuple[str, str]] = field(default_factory=list)
    judged: list[str] = field(default_factory=list)
    campaigns: int = 0
    reserved_now: str | None = None

    @contextmanager
    def reserved(self, release: str) -> Iterator[None]:
        assert self.reserved_now is None
        self.reserved_now = release
        try:
            yield
        finally:
            self.reserved_now = None

    def server(self, release: str) -> ServerEnv:
        assert self.reserved_now == release
        if release in self.not_to_be_had:
            raise UsageError("no route to the package index")
        if release not in self.installed:
            self.installed.add(release)
            self.ours.add(release)
        return ServerEnv(
            name=release,
            kind="installed",
            vllm=release,
            torch="none",
            python=Path("python"),
            python_version="3.11.7",
            preload=(),
            entry_module="x",
        )

    def put_away(self, release: str) -> bool:
        if release not in self.ours:
            return False
        self.ours.remove(release)
        self.installed.remove(release)
        return True

    def keep(self, release: str) -> None:
        self.ours.discard(release)

    def run(self, server: ServerEnv, scenarios: Sequence[Scenario], seed: int, on_row: OnRow) -> None:
        assert server.name in self.installed
        self.campaigns += 1
        for scenario in scenarios:
            if scenario.name in self.broken:
                raise UsageError(self.problem)
            if self.stop_after is not None and len(self.ran) >= self.stop_after:
                raise KeyboardInterrupt
            run = f"{scenario.name}-{len(self.ran)}"
            self.ran.append((server.name, scenario.name))
            self.stored.add(run)
            outcome = self.outcomes.get(scenario.name, "as expected")
            on_row(CampaignRow(verdict(scenario.name, server.name, run, outcome), Path(run)))

    def has_run(self, run: str | None) -> bool:
        return run in self.stored

    def judge(self, run: str, scenario: Scenario) -> RunVerdict | None:
        self.judged.append(scenario.name)
        if run in self.unreadable:
            return None
        return verdict(scenario.name, "0.18.0", run, self.outcomes.get(scenario.name, "as expected"))


@dataclass
class Results:
    """A folder of results and a machine to fill it with."""

    folder: Path
    machine: FakeMachine = field(default_factory=FakeMachine)
    printed: list[str] = field(default_factory=list)

    def fill(self, wanted: Order) -> list[Outcome | None]:
        return fill(wanted, self.machine, self.folder, self.printed.append, lambda: DAY)

    def again(self, wanted: Order) -> tuple[list[str], list[str]]:
        """What a later start runs, and judges again."""
        self.machine.ran, self.machine.judged = [], []
        self.fill(wanted)
        return [scenario for _, scenario in self.machine.ran], self.machine.judged


def changed(wanted: Order, name: str, **changes: object) -> Order:
    """The order with one scenario changed."""
    others = [
        scenario.model_copy(update=changes) if scenario.name == name else scenario
        for scenario in wanted.scenarios
    ]
    return replace(wanted, scenarios=others)
