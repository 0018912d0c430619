"""Which scenarios come first when there is time for some of them only."""

from __future__ import annotations

from collections.abc import Sequence

from history.scenario import Scenario
from kvchaos.planning.scenario_file import FIRST

BY_IMPORTANCE = (
    *FIRST,
    "mid-prefill-preemption",
    "chat-return",
    "evict-storm",
    "load-failure-recompute",
    "aborts",
    "trace-replay",
    "kill-and-restart",
    "agent-loop",
    "abort-storm",
    "parameter-mix",
)
"""First whether the judges can be believed, then what production does most, then what breaks most."""


def most_important_first(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """The scenarios of BY_IMPORTANCE in that order, then the others as they were."""
    rank = {name: number for number, name in enumerate(BY_IMPORTANCE)}
    return sorted(scenarios, key=lambda scenario: rank.get(scenario.name, len(rank)))
