"""Which faults struck requests in which states: a grid whose holes show what a run did not try."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import get_args

from history.protocol.schedule import State
from history.reader import History
from kvchaos.report.markdown import markdown_table
from oracles.faults_fired import is_real

NOT_KNOWN = "not known"
"""The state is unknown at the injection point, or the fault concerns no single request."""
STATES: tuple[str, ...] = (*get_args(State), NOT_KNOWN)

Grid = Mapping[str, Mapping[str, int]]
"""Strikes by kind of fault and by state. One on a request in two states, such as one that decodes while it
stores, counts in both."""


def coverage(history: History) -> Grid:
    """Of every kind in the plan, also of those that never struck; strikes without effect do not count."""
    grid: dict[str, Counter[str]] = defaultdict(Counter)
    for fault in history.plan.scenario.faults:
        grid[fault.kind].update(())
    for line in history.faults:
        if line.event == "fired" and line.kind is not None and is_real(line):
            grid[line.kind].update(line.states or [NOT_KNOWN])
    return grid


def coverage_text(history: History) -> str:
    """A Markdown table, a row a kind; empty when there is no fault."""
    grid = coverage(history)
    if not grid:
        return ""
    rows = [(kind, *(_cell(counts.get(state, 0)) for state in STATES)) for kind, counts in grid.items()]
    table = markdown_table(("fault", *STATES), rows)
    return f"### Faults that struck, by what the request was doing\n\n{table}"


def _cell(count: int) -> str:
    return str(count or "-")
