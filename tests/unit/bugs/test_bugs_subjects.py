"""A bug that lowers one counter must not hide another counter that shrinks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from packaging.version import Version

from history.expected_findings import Expectation, ExpectedBug
from history.verdict import SERVER, Cause, Finding, OracleResult, Subject, Verdict, metric, request
from kvchaos.bugs.bug_catalogue import find_bug, known_bugs, of_bugs
from kvchaos.bugs.bug_matching import bug_results, by_bugs, is_about
from kvchaos.judging.outcome import evaluate

DECREASED = "counters/decreased"
QUEUE = 'vllm:request_queue_time_seconds_sum{engine="0"}'
TOKENS = 'vllm:prompt_tokens_total{engine="0"}'
BUG = ExpectedBug(
    id="vllm-1",
    reference="vllm#1",
    title="It waits less than no time",
    mechanism="It was never scheduled.",
    always=(DECREASED,),
    subjects={DECREASED: ("vllm:request_queue_time_seconds_sum",)},
)


def expecting(*bugs: ExpectedBug) -> Expectation:
    return Expectation(releases="==0.18.0", fail=(DECREASED,), issue="vllm#1", bugs=bugs)


def shrank(*keys: str, rule: str = DECREASED) -> tuple[list[OracleResult], list[Cause]]:
    findings = [Finding(rule=rule, subject=metric(key), text=f"{key} shrank") for key in keys]
    result = OracleResult(
        oracle="counters",
        verdict=Verdict.FAIL,
        summary="",
        findings=findings,
        violations=len(keys),
        by_rule={rule: len(keys)},
    )
    first = keys[0].partition("{")[0]
    return [result], [Cause(rule=rule, signature=f"{rule}: {first}", violations=len(keys))]


def unchanged(signature: str, findings: Sequence[Finding]) -> str:
    return signature


def outcome(expectation: Expectation, *keys: str) -> str:
    results, causes = shrank(*keys)
    return evaluate(results, expectation, None, by_bugs(results, expectation, causes, unchanged))[0]


def test_a_finding_on_the_subject_of_the_bug_is_as_expected() -> None:
    assert outcome(expecting(BUG), QUEUE, QUEUE) == "as expected"


@pytest.mark.parametrize("keys", [(QUEUE, TOKENS), (TOKENS, QUEUE), (TOKENS,)])
def test_a_finding_on_another_subject_is_not_as_expected(keys: tuple[str, ...]) -> None:
    assert outcome(expecting(BUG), *keys) == "not as expected"


def test_finding_on_a_different_subject_is_a_separate_cause() -> None:
    results, causes = shrank(QUEUE, TOKENS, QUEUE)
    found = by_bugs(results, expecting(BUG), causes, unchanged)
    assert [(each.signature, each.violations, each.known_bugs, each.unexplained) for each in found] == [
        (f"{DECREASED}: vllm:request_queue_time_seconds_sum", 2, ["vllm-1"], False),
        (f"{DECREASED}: vllm:prompt_tokens_total", 1, [], True),
    ]
    assert [bug.explains for bug in bug_results(results, expecting(BUG), found)] == [{DECREASED: 2}]


def test_finding_on_other_subjects_does_not_show_the_bug() -> None:
    results, causes = shrank(TOKENS)
    found = by_bugs(results, expecting(BUG), causes, unchanged)
    assert [(bug.explains, bug.missing) for bug in bug_results(results, expecting(BUG), found)] == [
        ({}, [DECREASED])
    ]


def test_findings_of_two_bugs_are_two_causes() -> None:
    other = BUG.model_copy(update={"id": "vllm-2", "subjects": {DECREASED: ("vllm:prompt_*",)}})
    results, causes = shrank(QUEUE, TOKENS)
    assert [cause.known_bugs for cause in by_bugs(results, expecting(BUG, other), causes, unchanged)] == [
        ["vllm-1"],
        ["vllm-2"],
    ]
    assert outcome(expecting(BUG, other), QUEUE, TOKENS) == "as expected"


def test_an_expected_oracle_does_not_hide_a_subject_that_is_not_the_bugs() -> None:
    whole = BUG.model_copy(update={"always": ("counters",)})
    expectation = Expectation(releases="==0.18.0", fail=("counters",), issue="vllm#1", bugs=(whole,))
    assert outcome(expectation, QUEUE) == "as expected"
    assert outcome(expectation, QUEUE, TOKENS) == "not as expected"


def test_findings_that_follow_from_a_death_are_not_another_cause() -> None:
    results, causes = shrank(QUEUE, TOKENS)
    follower = Finding(rule=DECREASED, subject=metric(TOKENS), text="", follows="server-alive/died")
    results[0] = OracleResult(
        oracle="counters",
        verdict=Verdict.FAIL,
        summary="",
        findings=[results[0].findings[0], follower],
        violations=2,
        by_rule={DECREASED: 2},
    )
    causes = [Cause(rule=DECREASED, signature="x", violations=1)]
    assert [cause.violations for cause in by_bugs(results, expecting(BUG), causes, unchanged)] == [1]


@pytest.mark.parametrize(
    ("pattern", "subject", "matches"),
    [
        ("vllm:request_queue_time_seconds_sum", metric(QUEUE), True),
        (QUEUE, metric(QUEUE), True),
        ('vllm:*{engine="0"}', metric(QUEUE), True),
        ("vllm:request_queue_time", metric(QUEUE), False),
        ("vllm.request_queue_time_seconds_sum", metric(QUEUE), False),
        ("metric", metric(QUEUE), True),
        ("server", SERVER, True),
        ("request", request("load-1"), True),
        ("load-*", request("load-1"), True),
        ("server", request("load-1"), False),
    ],
)
def test_subject_pattern_matches_series_metric_or_kind(pattern: str, subject: Subject, matches: bool) -> None:
    assert is_about([pattern], subject) is matches


def test_fail_policy_bug_matches_its_series_only() -> None:
    bugs = [find_bug("unreported-unscheduled-request-counted", known_bugs())]
    expected = of_bugs("load-failure-fail-policy", Version("0.32.0"), bugs)
    (bug,) = expected.bugs
    assert is_about(bug.subjects[DECREASED], metric(QUEUE))
    assert not is_about(bug.subjects[DECREASED], metric(TOKENS))
