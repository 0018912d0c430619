"""A key by its old name: in a scenario file one line that names the new one, in a plan of version 1 read."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from history.renamed_keys import ANY_ITEM, RENAMED_IN_PLANS, RENAMED_IN_SCENARIOS, RenamedKey, plan_of_today
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import load_scenario
from tests.support.fake_server_runs import write_scenario
from tests.unit.planning.test_scenario import GOOD, pause


def with_old_key(content: dict[str, Any], key: RenamedKey, value: object) -> dict[str, Any]:
    """The content with the key by its old name, in the first item of each list."""
    changed = copy.deepcopy(content)
    at: Any = changed
    for name in key.parents:
        at = at[0] if name == ANY_ITEM else at.setdefault(name, {})
    at.pop(key.new, None)
    at[key.old] = value
    return changed


@pytest.mark.parametrize("key", RENAMED_IN_SCENARIOS, ids=lambda key: key.old)
def test_old_scenario_key_is_one_line_with_file_key_and_new_name(key: RenamedKey, tmp_path: Path) -> None:
    content = with_old_key({**GOOD, "faults": [pause({"nth": [1]})]}, key, 1)
    path = write_scenario(tmp_path / "old.yaml", content)
    location = ".".join("0" if name == ANY_ITEM else name for name in (*key.parents, key.old))
    with pytest.raises(UsageError) as caught:
        load_scenario(path)
    assert str(caught.value) == f"{path}: {location}: is named {key.new} now"


def test_old_parameter_in_a_schedule_of_one_line_is_named(tmp_path: Path) -> None:
    path = write_scenario(tmp_path / "old.yaml", {**GOOD, "faults": "nth 1 pause(for_s=2)"})
    with pytest.raises(UsageError, match=r"faults\.0\.params\.for_s: is named duration_s now"):
        load_scenario(path)


@pytest.mark.parametrize("key", RENAMED_IN_PLANS, ids=lambda key: key.old)
def test_old_key_of_a_version_1_plan_is_read(key: RenamedKey) -> None:
    plan = {"schema_version": 1, "scenario": {**GOOD, "faults": [pause({"nth": [1]})]}}
    today = plan_of_today(with_old_key(plan, key, 1))
    assert today == with_old_key({**plan, "schema_version": 2}, RenamedKey(key.parents, key.new, key.old), 1)


@pytest.mark.parametrize(
    "plan", [None, [], {}, {"schema_version": 2, "join": None}, {"schema_version": True}]
)
def test_plan_of_another_version_is_not_changed(plan: Any) -> None:
    assert plan_of_today(plan) == plan


@pytest.mark.parametrize("scenario", [None, [], {"faults": None}, {"faults": [None, {"params": []}]}])
def test_malformed_version_1_plan_is_left_to_its_validation(scenario: Any) -> None:
    plan = {"schema_version": 1, "scenario": scenario}
    assert plan_of_today(plan) == {**plan, "schema_version": 2}
