"""Export of stability nights and campaigns: the counts, states and verdicts that the dashboards query."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from history import layout
from kvchaos.cli.app import run as command_line
from kvchaos.openmetrics_text import exposition
from kvchaos.stability.campaign_export import campaign_families
from kvchaos.stability.campaign_results import read_campaign, run_start
from kvchaos.stability.night_counts import EXAMPLES
from kvchaos.stability.soak_export import soak_families
from kvchaos.stability.stability_store import StabilityHistory, append_stability
from tests.support.campaign_folders import write_campaign_folder
from tests.support.synthetic_soaks import (
    BACK,
    BUILD,
    GONE,
    NEW,
    NO_SCRAPE,
    ONGOING,
    RUN_S,
    SOAK_NIGHTS,
    START,
    campaign_runs,
    night_of,
    soak_history,
    write_campaign,
)

families_of: Callable[[str], Iterable[Metric]] = text_string_to_metric_families


def samples(text: str) -> dict[str, list[Sample]]:
    """By metric."""
    return {family.name: family.samples for family in families_of(text)}


@pytest.fixture(scope="module")
def nights() -> dict[str, list[Sample]]:
    return samples(exposition(soak_families(soak_history())))


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    return write_campaign(tmp_path / "soak-1012-020000-1f2e")


def last_night(found: Iterable[Sample]) -> list[Sample]:
    at = START.timestamp() + (SOAK_NIGHTS - 1) * 86400
    return [sample for sample in found if float(str(sample.timestamp)) == at]


def test_exported_counts_are_those_of_the_night(nights: dict[str, list[Sample]]) -> None:
    counts = {
        (name, value): sample.value
        for name, found in nights.items()
        for sample in last_night(found)
        for label, value in sample.labels.items()
        if label in ("outcome", "category", "reason")
    }
    assert counts == {
        ("kvchaos_soak_runs", "as expected"): 2,
        ("kvchaos_soak_runs", "not as expected"): 3,
        ("kvchaos_soak_runs", "unknown"): 1,
        ("kvchaos_soak_category_runs", "positive control"): 1,
        ("kvchaos_soak_category_runs", "new"): 4,
        ("kvchaos_soak_category_runs", "known bug"): 1,
        ("kvchaos_soak_category_runs", "failed before"): 1,
        ("kvchaos_soak_infrastructure_runs", "client"): 1,
        ("kvchaos_soak_unknown_runs", NO_SCRAPE): 1,
    }


def test_each_signature_has_one_state_each_night(nights: dict[str, list[Sample]]) -> None:
    found = last_night(nights["kvchaos_soak_signature_state"])
    states = {sample.labels["signature"]: sample.labels["state"] for sample in found if sample.value}
    assert states == {ONGOING: "ongoing", GONE: "gone", BACK: "back", NEW: "new"}
    assert sum(sample.value for sample in found) == len(states)


def test_unexplained_state_is_exported_where_a_known_bug_has_the_signature_too() -> None:
    history = soak_history()
    both = [
        msgspec.structs.replace(line, unexplained=not line.unexplained)
        for line in history.signatures
        if line.signature == NEW
    ]
    extended = StabilityHistory(history.nights, [*history.signatures, *both])
    found = samples(exposition(soak_families(extended)))["kvchaos_soak_signature_state"]
    states = [sample.labels["state"] for sample in last_night(found) if sample.labels["signature"] == NEW]
    assert sorted(states) == ["back", "gone", "new", "ongoing"]


def test_run_with_both_lines_of_a_signature_is_exported_once(campaign: Path) -> None:
    read = read_campaign(campaign)
    doubled = [
        dataclasses.replace(
            run,
            logged=msgspec.structs.replace(
                run.logged,
                signatures=[
                    changed
                    for each in run.logged.signatures
                    for changed in (each, msgspec.structs.replace(each, unexplained=not each.unexplained))
                ],
            ),
        )
        for run in read.runs
    ]
    text = exposition(campaign_families([dataclasses.replace(read, runs=doubled)]))
    found = samples(text)["kvchaos_campaign_run_signature"]
    labels = [tuple(sorted(sample.labels.items())) for sample in found]
    assert len(labels) == len(set(labels)) > 0


def test_oracle_of_a_signature_is_exported(nights: dict[str, list[Sample]]) -> None:
    found = last_night(nights["kvchaos_soak_signature_runs"])
    assert {sample.labels["oracle"] for sample in found} == {"server-alive", "drained", "answers"}
    assert all(sample.value == 1 for sample in found)


def test_every_run_of_a_campaign_is_exported_with_its_verdicts(campaign: Path) -> None:
    found = samples(exposition(campaign_families([read_campaign(campaign)])))
    runs = campaign_runs(SOAK_NIGHTS - 1)
    starts = found["kvchaos_campaign_run_start_time_seconds"]
    assert [sample.labels["run"] for sample in starts] == [run.run for run in runs]
    assert [sample.value for sample in starts] == [float(str(sample.timestamp)) for sample in starts]
    assert starts[1].value - starts[0].value == RUN_S
    bad = {
        (sample.labels["run"], sample.labels["oracle"], sample.value)
        for sample in found["kvchaos_campaign_oracle_verdict"]
        if sample.value
    }
    failing = {(run.run, each.signature.partition("/")[0], 2.0) for run in runs for each in run.signatures}
    unknown = {(run.run, "client", 1.0) for run in runs if run.outcome == "unknown"}
    assert bad == failing | unknown


@pytest.mark.parametrize(
    ("run", "night", "expected"),
    [
        ("aborts-0-32-0-1130-192804-f045", "2026-11-30T19:28:04", "2026-11-30T19:28:04"),
        ("aborts-0-32-0-0101-000510-f045", "2026-12-31T23:00:00", "2027-01-01T00:05:10"),
        ("run-1", "2026-11-30T19:28:04", None),
    ],
)
def test_start_of_a_run_follows_from_its_name(run: str, night: str, expected: str | None) -> None:
    start = run_start(run, datetime.fromisoformat(night).replace(tzinfo=UTC))
    assert start == (expected and datetime.fromisoformat(expected).replace(tzinfo=UTC))


def test_kept_runs_of_a_signature_are_exported_with_the_command(campaign: Path) -> None:
    found = samples(exposition(campaign_families([read_campaign(campaign)])))
    shown = {
        (sample.labels["run"], sample.labels["signature"], sample.labels["oracle"]): sample.labels["command"]
        for sample in found["kvchaos_campaign_run_signature"]
    }
    assert shown == {
        (run.run, each.signature, each.signature.partition("/")[0]): (
            f"kvchaos run {run.scenario} --server {BUILD} --seed {run.seed}"
        )
        for run in campaign_runs(SOAK_NIGHTS - 1)
        for each in run.signatures
    }


def test_runs_that_the_campaign_does_not_keep_have_no_signature_of_their_own(tmp_path: Path) -> None:
    runs = [
        msgspec.structs.replace(campaign_runs(0)[1], number=number, run=f"aborts-{number}")
        for number in range(EXAMPLES + 3)
    ]
    folder = write_campaign_folder(tmp_path / "soak", night_of(0), BUILD, runs, lambda _: [])
    found = samples(exposition(campaign_families([read_campaign(folder)])))
    (count,) = found["kvchaos_campaign_signature_runs"]
    assert count.value == len(runs)
    assert len(found["kvchaos_campaign_run_signature"]) == EXAMPLES


def test_campaign_has_the_url_of_its_runs(campaign: Path) -> None:
    families = campaign_families([read_campaign(campaign)], "https://runs.example/kvchaos/")
    (start,) = samples(exposition(families))["kvchaos_campaign_start_time_seconds"]
    assert start.labels["runs_url"] == f"https://runs.example/kvchaos/{campaign.name}"
    assert start.value == float(str(start.timestamp))


def test_command_refuses_a_url_that_no_link_can_have(tmp_path: Path, campaign: Path) -> None:
    options = ["--history", str(tmp_path), "--campaign", str(campaign), "--runs-url", "runs"]
    assert command_line(["nightly", "export", "openmetrics", *options]) == 3


def test_run_without_a_stored_verdict_has_no_verdicts(campaign: Path) -> None:
    missing = next(campaign.glob(f"*/{layout.VERDICT}"))
    missing.unlink()
    verdicts = {run.logged.run: run.verdicts for run in read_campaign(campaign).runs}
    assert [run for run, found in verdicts.items() if not found] == [missing.parent.name]


def test_empty_history_has_no_metrics() -> None:
    assert exposition(soak_families(StabilityHistory())) == exposition(campaign_families([])) == "# EOF\n"


def test_command_exports_a_history_without_comparisons(tmp_path: Path, campaign: Path) -> None:
    history = soak_history()
    for night in history.nights:
        lines = [line for line in history.signatures if line.night == night.night]
        append_stability(tmp_path / "history", night, lines)
    folder = str(tmp_path / "history")
    options = ["--history", folder, "--campaign", str(campaign)]
    assert command_line(["nightly", "export", "openmetrics", *options]) == 0
    found = samples((tmp_path / "history" / "history.om").read_text())
    assert len(found["kvchaos_soak_info"]) == SOAK_NIGHTS
    assert len(found["kvchaos_campaign_run_duration_seconds"]) == len(campaign_runs(SOAK_NIGHTS - 1))
