"""A server that was there before the run, and stays: judged by what is seen of it, from where it stood."""

from __future__ import annotations

from history.verdict import Verdict
from kvchaos.judging.judge_run import judge
from oracles import accounting, judges_of, offload
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import make_plan

GENERATED = 'vllm:generation_tokens_total{engine="0",model_name="tiny"}'


def attached_run() -> Run:
    """On a server that has served others before."""
    plan = make_plan()
    run = clean_run(plan.model_copy(update={"stack": "attach"}))
    run.drop_events("leak_probe")
    run.resources.clear()
    run.log.clear()
    for key in run.scrapes[0].values:
        if key.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket")):
            run.bump(key, 1000)
    return run


def test_counts_from_before_the_run_are_subtracted() -> None:
    run = attached_run()
    assert accounting.judge(run.history()).verdict is Verdict.PASS
    assert offload.judge(run.history()).verdict is Verdict.PASS
    run.bump(GENERATED, 1, since=len(run.scrapes) - 1)
    assert accounting.judge(run.history()).verdict is Verdict.FAIL


def test_tier_use_by_other_clients_is_no_evidence() -> None:
    run = attached_run()
    for key in list(run.scrapes[0].values):
        if key.startswith(("vllm:kv_offload", "vllm:external_prefix_cache_hits")):
            for scrape in run.scrapes:
                scrape.values[key] = 1000.0
    assert offload.judge(run.history()).verdict is Verdict.UNKNOWN


def test_oracles_skip_what_an_attached_server_does_not_expose() -> None:
    run = attached_run()
    verdict = judge(run.history())
    assert verdict.outcome == "as expected", verdict.reasons
    assert {result.oracle for result in verdict.results}.isdisjoint({"logs", "resources"})
    assert len(judges_of(make_plan())) == len(verdict.results) + 2


def test_managed_server_without_a_leak_probe_is_unknown() -> None:
    run = clean_run()
    run.drop_events("leak_probe")
    assert judge(run.history()).outcome == "unknown"
