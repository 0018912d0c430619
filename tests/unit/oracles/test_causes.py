"""A crash is one cause, however much fails of it; the same crash has one signature, another crash another."""

from __future__ import annotations

from pathlib import Path

import pytest

from history.reader import read_history
from history.verdict import SERVER, Finding, OracleResult, RunVerdict, Verdict, metric
from kvchaos.judging.judge_run import judge
from oracles import alive, progress
from oracles.causes import Raised, causes, first_raised
from tests.support.histories import Run, clean_run
from tests.support.stored import DATA, unpack
from tests.support.synthetic_records import make_plan

HEAD = "(APIServer pid=7) ERROR 11-29 09:10:17 [async_llm.py:707] "
SITE = "/home/somebody/env/lib/python3.11/site-packages"
LINES = f'''\
AsyncLLM output_handler failed.
Traceback (most recent call last):
  File "{SITE}/vllm/v1/engine/async_llm.py", line 9, in handler
    self.log()
  File "{SITE}/vllm/v1/metrics/loggers.py", line 1120, in record
    counter.inc(value)
  File "{SITE}/prometheus_client/metrics.py", line 3, in inc
    raise ValueError('Counters can only be incremented')
ValueError: Counters can only be incremented by non-negative amounts.'''
CRASH = "\n".join(f"{HEAD}{line}" for line in LINES.splitlines())
RECORD = "server-alive/died: ValueError in vllm.v1.metrics.loggers.record"


def crashed(*log: str) -> Run:
    run = clean_run(make_plan(vllm="0.18.0"))
    run.log = [*run.log, *log]
    run.events = [event for event in run.events if event.kind != "server_stop"]
    run.event("server_exit", code=1)
    return run


def verdict(run: Run) -> RunVerdict:
    return judge(run.history())


def signatures(run: Run) -> list[str]:
    return [cause.signature for cause in verdict(run).causes]


def test_crash_and_its_follow_up_findings_are_one_cause() -> None:
    run = crashed(*CRASH.splitlines())
    run.change_request(3, outcome="error", status=500)
    (cause,) = verdict(run).causes
    assert cause.rule == "server-alive/died"
    follows = {"logs/counter-decrement", "counters/decrement-refused", "outcomes/request-failed"}
    assert follows <= set(cause.follow)


def test_broken_counter_relation_follows_from_the_crash() -> None:
    counted = OracleResult(
        oracle="accounting",
        verdict=Verdict.FAIL,
        summary="in short",
        findings=[Finding(rule="accounting/step-tokens", subject=metric("vllm:a_total"), text="differs")],
        violations=1,
        by_rule={"accounting/step-tokens": 1},
    )
    history = crashed(*CRASH.splitlines()).history()
    (cause,) = causes(history, [alive.judge(history), counted])
    assert cause.follow == {"accounting/step-tokens": 1}


def test_process_exit_in_a_crash_is_no_separate_cause() -> None:
    gone = OracleResult(
        oracle="resources",
        verdict=Verdict.FAIL,
        summary="in short",
        findings=[Finding(rule="resources/process-gone", subject=SERVER, text="2 are gone")],
        violations=1,
        by_rule={"resources/process-gone": 1},
    )
    history = crashed(*CRASH.splitlines()).history()
    (cause,) = causes(history, [alive.judge(history), gone])
    assert cause.follow == {"resources/process-gone": 1}


def test_crash_is_a_cause_by_rule_beside_other_findings_of_its_oracle() -> None:
    run = crashed(*CRASH.splitlines())
    run.change_event("probe", ok=False)
    judged = verdict(run)
    (alive,) = (result for result in judged.results if result.oracle == "server-alive")
    assert len(alive.by_rule) > 1
    assert judged.reasons[0].split()[0] == "server-alive/died"


def test_wrong_answer_beside_a_crash_is_a_separate_cause() -> None:
    run = crashed(*CRASH.splitlines())
    run.change_request(3, logprobs=[-9.0, -0.25, -1.75, -0.125])
    assert [cause.rule for cause in verdict(run).causes] == ["server-alive/died", "answers/foreign"]


def test_the_same_crash_has_one_signature_whatever_the_machine_and_the_lines() -> None:
    elsewhere = CRASH.replace("/home/somebody", "/srv").replace("1120", "1125").replace("pid=7", "pid=41")
    runs = (crashed(*CRASH.splitlines()), crashed(*elsewhere.splitlines()))
    assert [signatures(run) for run in runs] == [[RECORD], [RECORD]]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("in record", "in observe"),
        ("metrics/loggers.py", "metrics/stats.py"),
        ("] ValueError: Counters can only be incremented by non-negative amounts.", "] KeyError: 'x'"),
    ],
)
def test_different_crashes_have_different_signatures(old: str, new: str) -> None:
    assert signatures(crashed(*CRASH.replace(old, new).splitlines())) != [RECORD]


def test_signature_of_a_crash_without_traceback_is_its_rule() -> None:
    assert signatures(crashed()) == ["server-alive/died: server"]


def test_a_violation_on_a_metric_has_its_name_without_labels() -> None:
    run = clean_run()
    run.bump('vllm:prompt_tokens_total{engine="0",model_name="x"}', 1000.0)
    found = signatures(run)
    assert all("{" not in signature for signature in found)


def test_stall_explains_the_blocks_of_its_stalled_requests(tmp_path: Path) -> None:
    (cause,) = judge(read_history(unpack(DATA / "hang.tar.xz", tmp_path))).causes
    assert cause.signature == "progress/deadlock: server"
    assert set(cause.follow) == {
        "drained/blocks-leaked",
        "drained/gauge-not-zero",
        "transfer-invariants/load-never-ended",
    }


def test_stall_explains_the_missing_answers(tmp_path: Path) -> None:
    history = read_history(unpack(DATA / "hang.tar.xz", tmp_path))
    nothing = OracleResult(oracle="answers", verdict=Verdict.UNKNOWN, summary="no answer could be compared")
    (cause,) = causes(history, [progress.judge(history), nothing])
    assert (cause.rule, cause.inconclusive) == ("progress/deadlock", ["answers"])


def test_a_green_run_has_no_cause(tmp_path: Path) -> None:
    assert judge(read_history(unpack(DATA / "green.tar.xz", tmp_path))).causes == []


@pytest.mark.parametrize(
    ("log", "raised"),
    [
        ([], None),
        (["Traceback (most recent call last):", "AssertionError"], Raised("AssertionError", None)),
        (
            [
                "Traceback (most recent call last):",
                '  File "/w/vllm/vllm/v1/x.py", line 1, in f',
                "a.b.OddError: y",
            ],
            Raised("OddError", "vllm.v1.x.f"),
        ),
        (["Traceback (most recent call last):", "cut off"], None),
    ],
)
def test_exception_is_read_from_the_traceback(log: list[str], raised: Raised | None) -> None:
    run = clean_run()
    run.log = log
    assert first_raised(run.history(), 1) == raised
