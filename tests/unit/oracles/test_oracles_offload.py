"""offload-used must not believe in offloading that did not happen."""

from __future__ import annotations

import pytest

from history.scenario import Requirement, ServerSettings
from history.verdict import Verdict
from oracles.offload import judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import gap_of
from tests.support.synthetic_records import EXTERNAL_HITS, LOAD_BYTES, OLD_LOAD_BYTES, PREEMPTIONS, make_plan

OFF = ServerSettings(gpu_blocks=40, offload=False)


@pytest.mark.parametrize(
    ("vllm", "key"),
    [
        ("0.18.0", OLD_LOAD_BYTES),
        ("0.18.0", EXTERNAL_HITS),
        ("0.32.0", LOAD_BYTES),
        ("0.32.0", EXTERNAL_HITS),
    ],
)
def test_a_tier_that_was_never_read_is_unknown_under_each_releases_names(vllm: str, key: str) -> None:
    run = clean_run(make_plan(vllm=vllm))
    assert judge(run.history()).verdict is Verdict.PASS
    for scrape in run.scrapes:
        scrape.values[key] = 0.0
    gap_of(judge(run.history()), "offload-used/no-hits" if key == EXTERNAL_HITS else "offload-used/no-bytes")


@pytest.mark.parametrize("key", [LOAD_BYTES, EXTERNAL_HITS])
def test_an_absent_metric_is_unknown(key: str) -> None:
    run = clean_run()
    run.drop_metric(key)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def test_preemptions_are_reported() -> None:
    run = clean_run()
    run.bump(PREEMPTIONS, 115.0, since=6)
    assert judge(run.history()).figures["preemptions"] == 115


def test_no_tier_hit_with_offloading_off_passes() -> None:
    run = clean_run(make_plan(server=OFF))
    for scrape in run.scrapes:
        scrape.values[EXTERNAL_HITS] = 0.0
    assert judge(run.history()).verdict is Verdict.PASS


def test_tier_hit_with_offloading_off_fails() -> None:
    assert judge(clean_run(make_plan(server=OFF)).history()).verdict is Verdict.FAIL


def test_offload_off_without_the_metric_is_unknown() -> None:
    run = clean_run(make_plan(server=OFF))
    run.drop_metric(EXTERNAL_HITS)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


# --- what the scenario requires ---------------------------------------------------------------------


def requiring(**least: int) -> Run:
    """A run whose last phase must see something. Six prompts hit 16 tokens each in the tier."""
    run = clean_run()
    requirement = Requirement(phase="healed", **least)
    scenario = run.plan.scenario.model_copy(update={"requires": (requirement,)})
    run.plan = run.plan.model_copy(update={"scenario": scenario})
    return run


def test_preemption_phase_without_preemptions_is_unknown() -> None:
    run = requiring(preemptions=1)
    gap = gap_of(judge(run.history()), "offload-used/requirement-not-met")
    assert gap.figures == {"required": 1, "count": 0}
    run.bump(PREEMPTIONS, 1.0, since=run.scrape_in("healed") + 1)
    assert judge(run.history()).verdict is Verdict.PASS


def test_preemptions_before_the_phase_do_not_count_for_it() -> None:
    run = requiring(preemptions=1)
    run.bump(PREEMPTIONS, 5.0, since=run.scrape_in("healed"))
    gap_of(judge(run.history()), "offload-used/requirement-not-met")


def test_required_number_of_tier_hits_is_checked() -> None:
    run = requiring(tier_hits=1)
    assert judge(run.history()).verdict is Verdict.PASS
    gap_of(judge(requiring(tier_hits=1_000_000).history()), "offload-used/requirement-not-met")


def test_a_required_count_that_the_server_does_not_report_is_unknown() -> None:
    run = requiring(preemptions=1)
    run.drop_metric(PREEMPTIONS)
    gap_of(judge(run.history()), "offload-used/requirement-unknown")


def test_interrupted_phase_requires_no_offload_use() -> None:
    run = requiring(preemptions=1)
    run.change_event("phase_end", reason="stalled")
    assert judge(run.history()).verdict is Verdict.PASS


def test_loads_only_in_the_golden_phase_are_unknown() -> None:
    """What is loaded there sets the standard; nothing is compared with another answer."""
    run = clean_run()
    last = run.scrapes[run.scrape_in("chaos")].values[LOAD_BYTES]
    for scrape in run.scrapes[run.scrape_in("chaos") :]:
        scrape.values[LOAD_BYTES] = last + 1024.0
    gap_of(judge(run.history()), "offload-used/no-bytes-under-load")
