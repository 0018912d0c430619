"""The order of all scenarios: the two that tell most come first, and servers are shared where they can be."""

from __future__ import annotations

from itertools import pairwise

from history.scenario import Scenario
from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.planning.scenario_file import FIRST, load_scenario, order_scenarios, scenario_files
from tests.support.synthetic_records import make_plan


def all_local() -> list[Scenario]:
    return [one for one in map(load_scenario, scenario_files()) if "local" in one.stacks]


def named(name: str, gpu_blocks: int, **changes: object) -> Scenario:
    scenario = make_plan().scenario
    server = scenario.server.model_copy(update={"gpu_blocks": gpu_blocks})
    return scenario.model_copy(update={"name": name, "server": server, "faults": (), "expect": (), **changes})


def names(scenarios: list[Scenario]) -> list[str]:
    return [scenario.name for scenario in order_scenarios(scenarios, known_bugs())]


def test_two_most_informative_scenarios_run_first() -> None:
    assert tuple(scenario.name for scenario in order_scenarios(all_local(), known_bugs())[:2]) == FIRST


def test_scenarios_with_equal_server_settings_are_adjacent() -> None:
    ordered = order_scenarios(all_local(), known_bugs())
    changes = sum(one.server != other.server for one, other in pairwise(ordered))
    assert changes + 1 == len({scenario.server for scenario in ordered})
    assert sorted(scenario.name for scenario in ordered) == sorted(one.name for one in all_local())


def test_the_order_does_not_depend_on_that_of_the_files() -> None:
    assert names(all_local()) == names(all_local()[::-1])


def test_fresh_server_scenarios_run_first_and_fatal_ones_last_in_a_group() -> None:
    make = [
        named("a-ends", 40, faults=next(one.faults for one in all_local() if one.name == "kill-and-restart")),
        named("b-plain", 40),
        named("c-fresh", 40, fresh="it counts from 0"),
        named("d-other", 60),
    ]
    assert names(make) == ["c-fresh", "b-plain", "a-ends", "d-other"]


def test_scenario_that_leaves_the_server_unclean_runs_last() -> None:
    faults = {scenario.name: scenario.faults for scenario in all_local()}
    make = [
        named("a-leaks", 40, faults=faults["lost-completion"]),
        named("b-differs", 40, faults=faults["corruption-canary"]),
        named("c-plain", 40),
    ]
    assert names(make) == ["c-plain", "b-differs", "a-leaks"]
