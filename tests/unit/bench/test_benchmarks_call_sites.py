"""A sample counts for the module only while the module itself runs, and for the call that led there."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.idle_cost.call_sites import module_samples, table

STEP = "build_connector_meta (/run/plugin/chaos/inside/connector.py:90)"
TRACK = "track (/run/plugin/chaos/inside/request_states.py:100)"
SCHEDULE = "schedule (/env/site-packages/vllm/v1/core/sched/scheduler.py:500)"
BUILD = "build_connector_meta (/env/site-packages/vllm/distributed/offloading/scheduler.py:50)"
REPLACE = "replace (/usr/lib/python3.11/dataclasses.py:10)"


@pytest.mark.parametrize(
    ("stack", "site"),
    [
        ((SCHEDULE, STEP), "connector.build_connector_meta"),
        ((SCHEDULE, STEP, TRACK), "connector.build_connector_meta"),
        ((SCHEDULE, STEP, REPLACE), "connector.build_connector_meta"),
        ((SCHEDULE, STEP, BUILD), None),
        ((SCHEDULE, STEP, BUILD, TRACK), "connector.build_connector_meta"),
        ((SCHEDULE, BUILD), None),
    ],
)
def test_sample_counts_for_the_call_from_outside_unless_vllm_runs(
    stack: tuple[str, ...], site: str | None
) -> None:
    found = module_samples("EngineCore", [f"{';'.join(stack)} 3"])
    assert found.total == 3
    assert found.by_site == ({} if site is None else {site: 3})


def test_table_has_a_row_for_each_site_and_one_for_the_sum() -> None:
    samples = module_samples("EngineCore", [f"{SCHEDULE};{STEP} 1", f"{SCHEDULE};{BUILD} 99"])
    assert samples.by_site == Counter({"connector.build_connector_meta": 1})
    *_, site, whole = table([samples]).splitlines()
    assert [row.split("|")[2:4] for row in (site, whole)] == [[" 1 ", " 1.00% "]] * 2
