"""Scenarios by a few commands: some on a release with the counter bug, all on one without."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from chaos.inside.faults.copies import RECOVERED
from history import layout
from history.events import PhaseStart, ServerExit
from history.records import CROWD
from kvchaos.judging.judge_run import judge_run_dir
from oracles.views.struck_requests import given_up
from tests.server.bench import (
    CAMPAIGN_S,
    CHOSEN,
    COUNTER_BUG,
    NEW,
    OLD,
    REFUSAL,
    RELEASES,
    Finished,
    RunDir,
    campaign_order,
    local_scenarios,
)
from tests.server.conftest import Campaigns

pytestmark = [pytest.mark.server, pytest.mark.timeout(CAMPAIGN_S + 100)]

SCENARIOS = (
    "abort-queued",
    "abort-slow-stores",
    "aborts",
    "agent-loop",
    "baseline-offload",
    "chat-completions",
    "chat-return",
    "corruption-canary",
    "deadlock-warm-tier",
    "evict-storm",
    "failed-copy",
    "false-accounting-within-a-step",
    "false-accounting",
    "generated-blocks",
    "legal-swarm",
    "load-failure-fail-policy",
    "load-failure-livelock",
    "load-failure-recompute",
    "lost-completion-abort",
    "lost-completion",
    "mid-prefill-preemption",
    "nan-block",
    "abort-storm",
    "cache-reset",
    "kill-and-restart",
    "malformed-requests",
    "network-cut",
    "pause-and-resume",
    "parameter-mix",
    "preempt-late-stores",
    "sharers-of-a-failed-prefix",
    "trace-replay",
)
DEATH = {"server-alive/died"}
FALSE_COUNTS = {"accounting/claimed-exceeds-loaded"}
LEFT = {"accounting/abandoned-requests"}
CAUSES: dict[tuple[str, str], set[str]] = {
    (NEW, "abort-slow-stores"): LEFT,
    (NEW, "abort-storm"): LEFT,
    (NEW, "aborts"): LEFT,
    **{(release, "corruption-canary"): {"answers/not-golden"} for release in RELEASES},
    (OLD, "deadlock-warm-tier"): {"progress/deadlock"},
    (OLD, "evict-storm"): DEATH,
    (NEW, "failed-copy"): DEATH,
    (OLD, "false-accounting"): {"accounting/lookups-exceed-prompts"},
    (NEW, "false-accounting"): {"accounting/lookups-exceed-prompts", *FALSE_COUNTS},
    (NEW, "false-accounting-within-a-step"): FALSE_COUNTS,
    (OLD, "load-failure-fail-policy"): DEATH,
    (NEW, "load-failure-fail-policy"): {
        "outcomes/truncated-stream",
        "counters/negative",
        "counters/decreased",
        "accounting/first-tokens",
    },
    **{
        (release, "load-failure-livelock"): {"progress/livelock", "accounting/lookups-exceed-prompts"}
        for release in RELEASES
    },
    (NEW, "load-failure-recompute"): FALSE_COUNTS,
    **{(release, "lost-completion"): {"progress/deadlock"} for release in RELEASES},
    (NEW, "lost-completion-abort"): {"progress/deadline"},
    (OLD, "mid-prefill-preemption"): DEATH,
    (OLD, "malformed-requests"): {"outcomes/malformed-not-refused", "logs/request-exception"},
    (NEW, "nan-block"): {"outcomes/truncated-stream"},
    (NEW, "parameter-mix"): {"accounting/tier-lookups-exceed-misses"},
    (NEW, "sharers-of-a-failed-prefix"): {"answers/not-golden"},
}
"""The rules that must be broken and follow from no other finding, by release and scenario. None else but what
the scenario says may be."""
RUNS = [(OLD, scenario) for scenario in CHOSEN] + [(NEW, scenario) for scenario in SCENARIOS]
DIES_WITHIN_S = 30
NS_PER_S = 10**9


@pytest.fixture(scope="module", params=RELEASES)
def release(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def campaign(campaigns: Campaigns, release: str) -> Finished:
    return campaigns(release)


def of(campaign: Finished, scenario: str) -> RunDir:
    (run,) = (run for run in campaign.runs() if run.scenario == scenario)
    return run


def on(release: str) -> list[str]:
    """The scenarios of a release's campaign, in order."""
    return list(CHOSEN) if release == OLD else campaign_order()


def unlike_golden(run: RunDir, phase: str) -> tuple[int, set[str]]:
    """How many answers of a phase have a golden one, and which of them are not equal to it."""
    requests = [record for record in run.history.requests if record.outcome == "ok"]
    golden = {record.prompt_id: record for record in requests if record.phase == "golden"}
    of_phase = [record for record in requests if record.phase == phase and record.prompt_id in golden]
    different = {
        record.id
        for record in of_phase
        if (record.token_ids, record.logprobs)
        != (golden[record.prompt_id].token_ids, golden[record.prompt_id].logprobs)
    }
    return len(of_phase), different


def planned_requests(run: RunDir, phase: str) -> int:
    """Requests that the scenario has in a phase."""
    (spec,) = (spec for spec in run.history.plan.scenario.phases if spec.name == phase)
    return spec.requests


def test_campaign_runs_every_packaged_scenario_of_the_stack() -> None:
    assert local_scenarios() == list(SCENARIOS)


def test_campaign_on_a_known_release_is_as_expected(campaign: Finished) -> None:
    assert campaign.code == 0, campaign.out
    assert campaign.err == ""


def test_campaign_table_lists_every_scenario(campaign: Finished, release: str) -> None:
    for scenario in on(release):
        row = rf"^✓ as expected +{scenario}-{release.replace('.', '-')}-\S+"
        assert re.search(row, campaign.out, re.MULTILINE), campaign.out


def test_every_run_directory_is_named_in_one_piece(campaign: Finished, release: str) -> None:
    runs = campaign.runs()
    assert [run.scenario for run in runs] == on(release)
    assert len({run.path for run in runs}) == len(on(release))


@pytest.mark.parametrize(("named", "scenario"), RUNS)
def test_exactly_the_expected_rules_are_broken(campaigns: Campaigns, named: str, scenario: str) -> None:
    run = of(campaigns(named), scenario)
    assert run.verdict.outcome == "as expected"
    must, may = CAUSES.get((named, scenario), set()), set(run.history.plan.expectation.collateral)
    assert must <= {cause.rule for cause in run.verdict.causes} <= must | may


@pytest.mark.parametrize(("named", "scenario"), RUNS)
def test_reports_are_in_the_run_directory(campaigns: Campaigns, named: str, scenario: str) -> None:
    run = of(campaigns(named), scenario)
    (suite,) = ET.parse(run.path / layout.JUNIT).getroot()
    names = [case.get("name") for case in suite.iter("testcase")]
    assert names == ["run", *(result.oracle for result in run.verdict.results)]
    assert (suite.get("failures"), suite.get("errors")) == ("0", "0")
    summary = (run.path / layout.SUMMARY).read_text()
    assert summary.startswith(f"## {scenario} on {run.verdict.server}: {run.verdict.outcome}\n")


@pytest.mark.parametrize(("named", "scenario"), RUNS)
def test_a_run_directory_moved_elsewhere_gets_the_same_verdict(
    campaigns: Campaigns, named: str, scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = of(campaigns(named), scenario)
    written = (layout.VERDICT, layout.JUNIT, layout.SUMMARY)
    moved = tmp_path / "moved"
    shutil.copytree(run.path, moved, symlinks=True, ignore=shutil.ignore_patterns(*written))
    monkeypatch.setenv("KVCHAOS_CACHE", str(tmp_path / "empty"))
    assert judge_run_dir(moved).outcome == "as expected"
    for name in written:
        assert (moved / name).read_bytes() == (run.path / name).read_bytes(), name


def test_the_baseline_offloads_under_pressure_and_answers_stay_exact(campaign: Finished) -> None:
    run = of(campaign, "baseline-offload")
    assert run.final("vllm:num_preemptions_total") > 0
    assert run.final("vllm:external_prefix_cache_hits_total") > 0
    assert unlike_golden(run, "load") == (planned_requests(run, "load"), set())


def test_bit_flip_changes_answers_until_healed(campaign: Finished) -> None:
    run = of(campaign, "corruption-canary")
    assert [line.n for line in run.journal("fired", "flip")] == [3, 7, 11]
    compared, different = unlike_golden(run, "chaos")
    assert compared == planned_requests(run, "chaos")
    assert different
    assert {finding.request for finding in run.result_of("answers").findings} <= different
    assert run.result_of("answers").violations == len(different)
    assert unlike_golden(run, "healed") == (planned_requests(run, "healed"), set())


def test_failed_loads_are_recomputed(campaign: Finished) -> None:
    run = of(campaign, "load-failure-recompute")
    (fault,) = run.history.plan.scenario.faults
    fired = run.journal("fired", fault.id)
    assert fault.trigger.limit is not None
    assert 0 < len(fired) <= fault.trigger.limit
    assert any(RECOVERED.search(line) for line in run.history.log)
    assert unlike_golden(run, "chaos") == (planned_requests(run, "chaos"), set())


def test_crowd_aborts_queued_and_running_requests(campaigns: Campaigns) -> None:
    run = of(campaigns(NEW), "abort-storm")
    fired = run.journal("fired", "storm")
    assert [line.n for line in fired] == [20, 60]
    assert all(line.evidence["sent"] == line.evidence["clients"] == 128 for line in fired)
    left = given_up(run.history)
    crowd = {record.id for record in run.history.requests if record.phase == CROWD}
    states = Counter(note.states[0] for name, note in left.items() if name in crowd and note.states)
    assert 0 < states["queued"] < states.total()
    assert run.result_of("faults-fired").verdict == "pass"
    assert unlike_golden(run, "healed") == (planned_requests(run, "healed"), set())


def test_aborted_queued_requests_are_never_computed(campaigns: Campaigns) -> None:
    run = of(campaigns(NEW), "abort-queued")
    left = [record for record in run.history.requests if record.outcome == "aborted"]
    assert len(left) > 50
    notes = given_up(run.history)
    # Others leave before the engine receives them, or are scheduled first.
    queued = [record for record in left if record.id in notes and notes[record.id].states == ["queued"]]
    assert len(queued) > 5
    assert not any(record.token_ids for record in queued)
    assert {notes[record.id].evidence["computed"] for record in queued} == {0}
    assert run.result_of("drained").verdict == "pass"


def test_release_with_the_counter_bug_crashes_with_its_signature(campaigns: Campaigns) -> None:
    run = of(campaigns(OLD), "mid-prefill-preemption")
    began = run.event(PhaseStart, phase="pressure").t_ns
    died = run.event(ServerExit).t_ns
    assert 0 < died - began < DIES_WITHIN_S * NS_PER_S
    assert any(REFUSAL in finding.text for finding in run.result_of("counters").findings)
    assert [cause.signature for cause in run.verdict.causes] == [COUNTER_BUG]


def test_endlessly_failing_load_is_reported_as_a_livelock(campaign: Finished) -> None:
    run = of(campaign, "load-failure-livelock")
    assert "progress/livelock" in run.result_of("progress").by_rule


def test_lost_load_completion_is_reported_as_a_deadlock(campaign: Finished) -> None:
    run = of(campaign, "lost-completion")
    assert "progress/deadlock" in run.result_of("progress").by_rule


def test_loads_waiting_for_each_other_are_reported_as_a_deadlock(campaigns: Campaigns) -> None:
    run = of(campaigns(OLD), "deadlock-warm-tier")
    assert "progress/deadlock" in run.result_of("progress").by_rule


def test_release_without_the_counter_bug_survives_the_same_load(campaigns: Campaigns) -> None:
    run = of(campaigns(NEW), "mid-prefill-preemption")
    assert run.history.events_of(ServerExit) == []
    assert run.final("vllm:num_preemptions_total") > 0
    assert {result.verdict for result in run.verdict.results} == {"pass"}


def test_every_fault_of_the_evict_storm_has_its_consequence(campaigns: Campaigns) -> None:
    run = of(campaigns(NEW), "evict-storm")
    fired = {fault: run.journal("fired", fault) for fault in ("gone", "full", "slow")}
    assert all(fired.values())
    assert run.result_of("faults-fired").verdict == "pass"
    refused = sum("cannot store" in line for line in run.history.log)
    assert refused >= len(fired["full"])
    hidden = "vllm:external_prefix_cache_queries_total", "vllm:external_prefix_cache_hits_total"
    assert run.final(hidden[0]) > run.final(hidden[1])
    delayed_s = sum(float(str(line.evidence["ms"])) for line in fired["slow"]) / 1000
    assert run.final("vllm:kv_offload_load_time_total") >= 0.9 * delayed_s
    assert unlike_golden(run, "chaos") == (planned_requests(run, "chaos"), set())


def test_a_server_that_does_not_reset_its_tier_serves_one_run_only(campaigns: Campaigns) -> None:
    """Releases before 0.22 say that they reset it."""
    assert {run.history.plan.preceded_by for run in campaigns(OLD).runs()} == {()}
    assert any(run.history.plan.preceded_by for run in campaigns(NEW).runs())
