"""A scenario that comes with the software and does not load, or lacks its standard, wastes a night."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.planning.scenario_file import find_scenario, load_scenario, scenario_files

FILES = scenario_files()


def test_scenario_files_are_found() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_has_its_file_name_and_starts_with_a_golden_phase(path: Path) -> None:
    scenario = load_scenario(path)
    assert scenario.name == path.stem
    assert scenario.summary.strip()
    assert scenario.phases[0].role == "golden"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_uses_each_workload_it_defines(path: Path) -> None:
    scenario = load_scenario(path)
    assert {phase.workload for phase in scenario.phases} == set(scenario.workloads)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_is_found_by_name(path: Path) -> None:
    assert find_scenario(path.stem) == path
