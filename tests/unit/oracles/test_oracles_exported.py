"""A metric family that a server never exports must not pass; one that its release has not must not fail."""

from __future__ import annotations

import json

import pytest

from history.scenario import ServerSettings
from history.verdict import OracleResult
from oracles.findings import Findings
from oracles.laws import families
from oracles.laws.families import EXPORTED, MISSING
from tests.support.histories import Run, clean_run
from tests.support.stored import DATA
from tests.support.synthetic_records import make_plan

FAMILIES: dict[str, list[str]] = json.loads((DATA / "metric_families.json").read_text())
ITERATION = "vllm:iteration_tokens_total"
LOADED = "vllm:kv_offload_load_bytes_total"
NOT_ALWAYS = {
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_virtual_memory_bytes",
    "python_gc_collections_total",
    "python_gc_objects_collected_total",
    "python_gc_objects_uncollectable_total",
    "python_info",
    "vllm:kv_offload_allocation_failure_total",
    "vllm:kv_offload_lookup_async_delay_seconds",
    "vllm:prompt_tokens_recomputed_total",
}
"""Of the operating system and of Python, or exported only once there is something to count, or dropped."""


def exporting(*without: str, vllm: str = "0.32.0", server: ServerSettings | None = None) -> Run:
    """A run on a server that exports the families of a release, but for some."""
    run = clean_run(make_plan(vllm=vllm, server=server))
    for scrape in run.scrapes:
        scrape.values |= dict.fromkeys(FAMILIES[vllm], 0.0)
        scrape.values = {key: value for key, value in scrape.values.items() if key not in without}
    return run


def judged(run: Run) -> OracleResult:
    found = Findings("counters")
    families.judge_exported(run.history(), found)
    return found.result("")


@pytest.mark.parametrize("release", sorted(FAMILIES))
def test_the_table_has_the_families_that_servers_of_a_release_export(release: str) -> None:
    major, minor, _ = map(int, release.split("."))
    due = {name for family in EXPORTED if family.since <= (major, minor) for name in family.names}
    assert due - set(FAMILIES[release]) == set()
    assert set(FAMILIES[release]) - due - NOT_ALWAYS == set()


@pytest.mark.parametrize("release", sorted(FAMILIES))
def test_a_server_that_exports_all_families_of_its_release_passes(release: str) -> None:
    result = judged(exporting(vllm=release))
    assert (str(result.verdict), result.gaps) == ("pass", [])


def test_a_family_that_is_never_exported_fails() -> None:
    result = judged(exporting(ITERATION))
    assert result.by_rule == {MISSING.id: 1}
    assert result.findings[0].subject.name == ITERATION


def test_load_families_are_required_after_the_first_load() -> None:
    run = exporting(LOADED)
    assert judged(run).by_rule == {}
    run.audit_line("scheduler", "balance", loads_begun=1)
    run.scrape()
    run.drop_metric(LOADED)
    assert judged(run).by_rule == {MISSING.id: 1}


def test_offload_families_are_not_required_without_offloading() -> None:
    of_offloading = [name for name in FAMILIES["0.32.0"] if "kv_offload" in name or "kv_fetch" in name]
    server = ServerSettings(gpu_blocks=40, offload=False, chaos=False)
    assert judged(exporting(*of_offloading, server=server)).by_rule == {}


def test_families_of_a_later_release_are_not_required() -> None:
    run = exporting(ITERATION)
    run.plan = make_plan(vllm="0.33.0")
    assert judged(run).checked == 0


def test_no_family_is_required_without_an_answer() -> None:
    run = exporting(ITERATION)
    run.requests.clear()
    assert judged(run).checked == 0
