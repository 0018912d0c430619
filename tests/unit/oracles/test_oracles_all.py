"""For every oracle: green on a clean run, unknown on no data, few findings, no change of mind."""

from __future__ import annotations

import pytest

from history.metrics import MetricLog
from history.reader import History
from history.records import Event
from history.verdict import Verdict
from kvchaos.judging.judge_run import cut_short, judge
from oracles import ORACLES
from oracles.findings import MAX_FINDINGS, Oracle
from tests.support.histories import clean_run
from tests.support.synthetic_records import PROMPTS, failure, make_plan

BY_NAME = {oracle.name: oracle for oracle in ORACLES}


def verdicts(history: History) -> dict[str, Verdict]:
    return {oracle.name: oracle.judge(history).verdict for oracle in ORACLES}


@pytest.mark.parametrize("vllm", ["0.18.0", "0.32.0"])
def test_a_clean_run_passes_everywhere(vllm: str) -> None:
    run = clean_run(make_plan(vllm=vllm))
    run.watch()
    history = run.history()
    assert verdicts(history) == dict.fromkeys(BY_NAME, Verdict.PASS)
    assert all(oracle.judge(history).checked for oracle in ORACLES)


def test_the_names_that_scenarios_use_are_fixed() -> None:
    fixed = [
        "server-alive",
        "progress",
        "logs",
        "outcomes",
        "counters",
        "accounting",
        "metrics-crosscheck",
        "answers",
        "drained",
        "resources",
        "gpu",
        "transfer-invariants",
        "faults-fired",
        "blast-radius",
        "client",
        "performance",
        "offload-used",
    ]
    assert [oracle.name for oracle in ORACLES][: len(fixed)] == fixed


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.name)
def test_empty_run_directory_is_unknown_by_every_oracle(oracle: Oracle) -> None:
    plan = make_plan()
    start = Event(t_ns=1, mono_ns=1, kind="server_start", data={"pid": 1, "port": 1})
    empty = History(clean_run().history().run_dir, plan, [], [], [], [start], MetricLog(), [])
    assert oracle.judge(empty).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("name", ["progress", "counters", "accounting", "drained", "offload-used"])
def test_a_run_without_metrics_is_unknown_where_metrics_are_needed(name: str) -> None:
    run = clean_run()
    run.scrapes.clear()
    result = BY_NAME[name].judge(run.history())
    assert result.verdict is Verdict.UNKNOWN
    assert result.gaps


def test_all_violations_are_counted_and_few_are_listed() -> None:
    run = clean_run()
    for index in range(len(run.requests)):
        run.change_request(index, **failure("InternalServerError", "engine dead"))
    (result,) = judge(run.history(), [BY_NAME["outcomes"]]).results
    assert result.violations == len(run.requests) == 3 * PROMPTS + 2
    assert len(result.findings) == MAX_FINDINGS


def test_judging_twice_gives_the_same_verdict() -> None:
    run = clean_run()
    run.change_request(3, logprobs=[-9.0, -0.25, -1.75, -0.125])
    run.log.append("Traceback (most recent call last):")
    run.drop_events("leak_probe")
    history = run.history()
    assert judge(history) == judge(history)


def test_complete_run_has_no_cut_reason() -> None:
    assert cut_short(clean_run().history()) is None
