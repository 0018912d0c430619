"""Filling the matrix, release by release: judge again what only judging has changed, run what is missing.

Each cell is stored as soon as it is there. So whatever ends the work, the next start goes on from there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace
from packaging.version import Version

from history.scenario import Scenario
from history.verdict import Outcome
from kvchaos.bugs.bug_catalogue import KnownBug, declared_bugs
from kvchaos.errors import UsageError
from kvchaos.matrix.cells import Cell, cell_of, failed_cell, read_results, write_results
from kvchaos.matrix.digests import Code, Digests, digests_of
from kvchaos.matrix.local_machine import Machine
from kvchaos.servers.server_registry import ServerEnv
from kvchaos.terminal.result_tables import CampaignRow

SHARD = re.compile(r"(\d{1,4})/(\d{1,4})")
Item = TypeVar("Item")


class Work(Enum):
    """What a cell needs."""

    RUN = auto()
    JUDGE = auto()
    """The stored run is judged again."""
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts of the matrix."""

    number: int
    """Number of the part, from 1."""
    of: int


WHOLE = Shard(1, 1)


def parse_shard(text: str) -> Shard:
    """`2/5` is the second of five parts. Raises UsageError."""
    found = SHARD.fullmatch(text)
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.of:
        raise UsageError(f"--shard {text}: give NUMBER/OF with a number from 1 to OF, such as 2/5")
    return shard


def part_of(items: Sequence[Item], shard: Shard) -> Sequence[Item]:
    """The shard's part of the items.

    Items of a part are consecutive, so that few releases are needed by two shards. Parts are disjoint, and
    together they are everything.
    """
    begin, end = (len(items) * number // shard.of for number in (shard.number - 1, shard.number))
    return items[begin:end]


def work_for(cell: Cell | None, now: Digests, *, has_run: bool, retry: bool) -> Work:
    """Work that a cell needs.

    `now`: its digests today; `has_run`: its run directory exists; `retry`: run unknown cells again.
    """
    if cell is None or cell.outcome is None or cell.made != now.made:
        return Work.RUN
    if cell.judged != now.judged:
        return Work.JUDGE if has_run else Work.RUN
    return Work.RUN if retry and cell.outcome == "unknown" else Work.NOTHING


GIVE_UP = 2
"""Scenarios in a row that cannot be run: then the rest of the release is left for the next start."""
PrintLine = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """Which cells to fill, and how."""

    releases: Sequence[str]
    scenarios: Sequence[Scenario]
    """Scenarios in the order in which a campaign runs them."""
    seed: int
    bugs: Sequence[KnownBug]
    code: Code
    shard: Shard = WHOLE
    keep: bool = False
    """Environments that the matrix installs stay."""
    retry: bool = False
    """Cells that are unknown are run again."""
    accept_code: bool = False
    """Stored runs count as made by the code at hand."""

    def shares(self) -> dict[str, list[Scenario]]:
        """The cells of the shard, by release."""
        cells = [(release, scenario) for release in self.releases for scenario in self.scenarios]
        shares: dict[str, list[Scenario]] = {}
        for release, scenario in part_of(cells, self.shard):
            shares.setdefault(release, []).append(scenario)
        return shares


def fill(
    order: Order, machine: Machine, folder: Path, print_line: PrintLine, today: Callable[[], str]
) -> list[Outcome | None]:
    """Bring the results in `folder` up to date, and return the outcomes of the order's cells.

    None: the cell could not be run now. Raises UsageError for a damaged file, or when a result cannot be
    written; and KeyboardInterrupt.
    """
    shares = order.shares()
    outcomes: list[Outcome | None] = []
    for number, (release, scenarios) in enumerate(shares.items(), start=1):
        with machine.reserved(release):
            row = ReleaseRow(order, machine, folder, print_line, today, release)
            row.fill(scenarios, f"{release} ({number} of {len(shares)})")
            outcomes += [row.outcome(scenario) for scenario in scenarios]
    return outcomes


def utc_day() -> str:
    """Today's date in UTC, as `2026-11-30`."""
    return f"{datetime.now(UTC):%Y-%m-%d}"


class ReleaseRow:
    """The cells of one release."""

    def __init__(
        self,
        order: Order,
        machine: Machine,
        folder: Path,
        print_line: PrintLine,
        today: Callable[[], str],
        release: str,
    ) -> None:
        self._order = order
        self._machine = machine
        self._folder = folder
        self._print_line = print_line
        self._today = today
        self._release = release
        self.results = read_results(folder, release)

    def fill(self, scenarios: Sequence[Scenario], title: str) -> None:
        """Do what its cells need, and remove the environment that a matrix installed for it."""
        work = {scenario.name: self._work(scenario) for scenario in scenarios}
        wanted = [scenario for scenario in scenarios if work[scenario.name] is Work.RUN]
        stored = [scenario for scenario in scenarios if work[scenario.name] is Work.JUDGE]
        done = len(scenarios) - len(wanted) - len(stored)
        self._print_line(f"{title}: {len(wanted)} cells to run, {len(stored)} to judge again, {done} done")
        wanted += [scenario for scenario in stored if not self._judge(scenario)]
        if wanted:
            # In the order of the campaign, those whose run was unreadable, too.
            self._run([scenario for scenario in scenarios if scenario in wanted])
        if self._order.keep:
            self._machine.keep(self._release)
        elif self._machine.put_away(self._release):
            self._print_line(f"{self._release}: environment removed")

    def outcome(self, scenario: Scenario) -> Outcome | None:
        """Outcome of an up-to-date cell; None: it is out of date, or it could not be run."""
        cell, now = self.results.find(scenario.name), self._digests(scenario)
        current = cell is not None and (cell.made, cell.judged) == (now.made, now.judged)
        return cell.outcome if cell is not None and current else None

    def _work(self, scenario: Scenario) -> Work:
        cell, now = self.results.find(scenario.name), self._digests(scenario)
        if self._order.accept_code and cell is not None and cell.made != now.made:
            cell = replace(cell, made=now.made)
            self._store(cell)
        has_run = cell is not None and self._machine.has_run(cell.run)
        return work_for(cell, now, has_run=has_run, retry=self._order.retry)

    def _digests(self, scenario: Scenario) -> Digests:
        order = self._order
        return digests_of(scenario, self._release, order.seed, order.bugs, order.code)

    def _declared(self, scenario: Scenario) -> dict[str, tuple[str, ...]]:
        return declared_bugs(scenario.name, Version(self._release), self._order.bugs)

    def _judge(self, scenario: Scenario) -> bool:
        """Judge the stored run of a cell again; False when it cannot be read."""
        cell = self.results.find(scenario.name)
        assert cell is not None
        verdict = self._machine.judge(cell.run, scenario) if cell.run else None
        if verdict is None:
            return False
        declared = self._declared(scenario)
        self._store(cell_of(verdict, cell.day, self._digests(scenario), declared, cell.fresh))
        self._print_line(f"{self._release}, {scenario.name}: {verdict.outcome}, judged again")
        return True

    def _run(self, scenarios: Sequence[Scenario]) -> None:
        try:
            server = self._machine.server(self._release)
        except UsageError as error:
            self._print_line(f"{self._release}: left for the next start: {error}")
            return
        left, failed = list(scenarios), 0
        while left and failed < GIVE_UP:
            before = len(left)
            problem = self._campaign(server, left)
            if problem is None:
                return
            failed = failed + 1 if len(left) == before else 1
            self._fail(left.pop(0), problem)
        if left:
            self._print_line(f"{self._release}: {len(left)} scenarios are left for the next start")

    def _campaign(self, server: ServerEnv, left: list[Scenario]) -> UsageError | None:
        """Run scenarios, and take from the list what was run; the problem of the first that cannot be."""

        def on_row(row: CampaignRow) -> None:
            scenario = left[0]
            fresh = row.again.verdict.outcome if row.again else None
            declared, digests = self._declared(scenario), self._digests(scenario)
            self._store(cell_of(row.verdict, self._today(), digests, declared, fresh))
            left.pop(0)

        try:
            self._machine.run(server, tuple(left), self._order.seed, on_row)
        except UsageError as error:
            return error
        return None

    def _fail(self, scenario: Scenario, problem: UsageError) -> None:
        self._print_line(f"{self._release}, {scenario.name}: could not be run: {problem}")
        digests, order = self._digests(scenario), self._order
        self._store(failed_cell(scenario.name, order.seed, self._today(), digests, str(problem)))

    def _store(self, cell: Cell) -> None:
        self.results = self.results.having(cell)
        write_results(self._folder, self.results)
