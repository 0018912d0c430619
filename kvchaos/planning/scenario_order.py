"""The order of all scenarios: the most informative first, those that can share a server together."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.fault_catalogue import effects, ends_the_server
from history.scenario import Scenario, ServerSettings
from kvchaos.bugs.bug_file import KnownBug
from kvchaos.bugs.expected import certain_somewhere, expected_somewhere
from oracles.findings import oracle_of

FIRST = ("baseline-offload", "corruption-canary")
"""That nothing breaks by itself, and that the judges see what is broken."""

UNCLEAN = frozenset({"server-alive", "progress", "drained", "resources", "transfer-invariants"})
"""Oracles whose failure says that the server is no more, or is not what it was."""


def order_scenarios(scenarios: Sequence[Scenario], bugs: Sequence[KnownBug]) -> list[Scenario]:
    """Grouped by server settings, the groups in the order of their first names, but with FIRST before all."""

    def within(scenario: Scenario) -> tuple[int, bool, bool, bool]:
        """Who needs a fresh server goes first. Who may leave none that another run can use goes last."""
        red = bool(expected_somewhere(scenario, bugs) or _declared(scenario))
        unclean = _may_leave_it_unclean(scenario, bugs)
        return _rank(scenario), scenario.fresh is None, unclean, red

    groups: dict[ServerSettings, list[Scenario]] = {}
    for scenario in sorted(scenarios, key=lambda scenario: (_rank(scenario), scenario.name)):
        groups.setdefault(scenario.server, []).append(scenario)
    return [scenario for group in groups.values() for scenario in sorted(group, key=within)]


def _rank(scenario: Scenario) -> int:
    return FIRST.index(scenario.name) if scenario.name in FIRST else len(FIRST)


def _may_leave_it_unclean(scenario: Scenario, bugs: Sequence[KnownBug]) -> bool:
    """Whether the server ends, or is expected to, or to hold something for good, on whatever release."""
    if any(ends_the_server(fault.kind) for fault in scenario.faults):
        return True
    if not UNCLEAN.isdisjoint(_declared(scenario)):
        return True
    return not UNCLEAN.isdisjoint(map(oracle_of, certain_somewhere(scenario, bugs)))


def _declared(scenario: Scenario) -> set[str]:
    """The oracles that fail by what its faults are declared to bring."""
    declared = (effect for fault in scenario.faults for effect in effects(fault.kind, fault.params))
    return {oracle_of(rule) for effect in declared for rule in effect.rules}
