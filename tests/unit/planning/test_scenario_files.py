"""A scenario that comes with the software and does not load, or lacks its standard, wastes a night."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.planning.scenario_file import find_scenario, load_scenario, scenario_files

FILES = scenario_files()


def test_there_are_scenarios() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_loads_is_named_after_its_file_and_begins_with_golden_answers(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.summary.strip()
    assert scenario.phases[0].role == "golden"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_uses_each_workload_that_it_defines(path: Path) -> None:
    scenario = load_scenario(path)
    assert {phase.workload for phase in scenario.phases} == set(scenario.workloads)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_is_found_by_name(path: Path) -> None:
    assert find_scenario(path.stem) == path
