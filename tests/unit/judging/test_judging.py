"""The outcome of a run must be strict in both directions, and must never turn a gap into a pass."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from history import layout
from history.expected_findings import Expectation
from history.reader import History, UnreadableRun
from history.verdict import SERVER, Cause, Finding, Gap, OracleResult, Outcome, RunVerdict, Verdict
from kvchaos.judging.judge_run import CRASHES, cut_short, exit_code, judge, judge_run_dir, run_oracle
from kvchaos.judging.outcome import ExpectationMatch, evaluate, match_expectation, unexpected
from oracles.findings import Oracle
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import make_plan

P, F, U = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
PLAIN = Expectation(releases=">=0.16")
SEED_BUG = Expectation(releases="<0.19", fail=("counters",), collateral=("server-alive",), issue="vllm#36533")


def result(name: str, verdict: Verdict) -> OracleResult:
    """A failure breaks the rule NAME/some."""
    rules = [f"{name}/some"] if verdict is F else []
    return (
        broken(name, *rules)
        if rules
        else OracleResult(oracle=name, verdict=verdict, summary=f"{name} said so", checked=1)
    )


def broken(name: str, *rules: str) -> OracleResult:
    """A failure by these rules."""
    findings = [Finding(rule=rule, subject=SERVER, text=f"{rule} broke") for rule in rules]
    return OracleResult(
        oracle=name,
        verdict=F,
        summary=f"{name} said so",
        checked=1,
        findings=findings,
        violations=len(rules),
        by_rule=dict.fromkeys(rules, 1),
    )


@pytest.mark.parametrize(
    ("counters", "alive", "answers", "expectation", "outcome"),
    [
        (P, P, P, PLAIN, "as expected"),
        (F, P, P, PLAIN, "not as expected"),
        (U, P, P, PLAIN, "unknown"),
        (F, P, U, PLAIN, "not as expected"),
        (F, F, P, SEED_BUG, "as expected"),
        (F, P, P, SEED_BUG, "as expected"),
        (F, U, P, SEED_BUG, "as expected"),
        (P, P, P, SEED_BUG, "not as expected"),
        (U, F, P, SEED_BUG, "unknown"),
        (F, F, F, SEED_BUG, "not as expected"),
        (F, F, U, SEED_BUG, "unknown"),
        (P, F, U, SEED_BUG, "not as expected"),
        (U, P, F, SEED_BUG, "not as expected"),
    ],
)
def test_expectation_is_strict_in_both_directions(
    counters: Verdict, alive: Verdict, answers: Verdict, expectation: Expectation, outcome: Outcome
) -> None:
    results = [result("counters", counters), result("server-alive", alive), result("answers", answers)]
    assert evaluate(results, expectation, None, ())[0] == outcome


@pytest.mark.parametrize("verdict", list(Verdict))
def test_interrupted_run_is_unknown_and_still_lists_its_findings(verdict: Verdict) -> None:
    cut = Gap(kind="run/interrupted", subject=SERVER, text="cut")
    outcome, reasons = evaluate([result("counters", verdict)], PLAIN, cut, ())
    assert outcome == "unknown"
    assert reasons[0] == cut.text
    assert len(reasons) == (1 if verdict is P else 2)


BY_RULE = Expectation(
    releases=">=0.20",
    fail=("accounting/claimed-exceeds-loaded",),
    collateral=("accounting/usage-exceeds-loaded",),
    issue="vllm PR#37460",
)


@pytest.mark.parametrize(
    ("rules", "outcome", "named"),
    [
        (["claimed-exceeds-loaded"], "as expected", ["accounting"]),
        (["claimed-exceeds-loaded", "usage-exceeds-loaded"], "as expected", ["accounting"]),
        (["usage-exceeds-loaded"], "not as expected", ["accounting/claimed-exceeds-loaded"]),
        (
            ["claimed-exceeds-loaded", "first-tokens"],
            "not as expected",
            ["accounting", "accounting/first-tokens"],
        ),
        ([], "not as expected", ["accounting/claimed-exceeds-loaded"]),
    ],
)
def test_unexpected_finding_of_an_expected_oracle_is_not_as_expected(
    rules: list[str], outcome: Outcome, named: list[str]
) -> None:
    ids = [f"accounting/{rule}" for rule in rules]
    results = [broken("accounting", *ids) if ids else result("accounting", P)]
    came, reasons = evaluate(results, BY_RULE, None, ())
    assert came == outcome
    assert [line.split()[0] for line in reasons] == named


def test_collateral_rule_is_tolerated_and_other_rules_are_not() -> None:
    chance = Expectation(releases=">=0.16", collateral=("accounting/abandoned-requests",), issue="vllm#31503")
    assert (
        evaluate([broken("accounting", "accounting/abandoned-requests")], chance, None, ())[0]
        == "as expected"
    )
    other = broken("accounting", "accounting/abandoned-requests", "accounting/first-tokens")
    outcome, reasons = evaluate([other], chance, None, ())
    assert outcome == "not as expected"
    assert unexpected(other, chance, ()) == {"accounting/first-tokens"}
    assert reasons[-1].split()[0] == "accounting/first-tokens"


@pytest.mark.parametrize(
    ("rules", "outcome"),
    [([], "unknown"), (["first-tokens"], "not as expected"), (["claimed-exceeds-loaded"], "unknown")],
)
def test_absent_bug_is_unknown_while_a_fault_is_in_doubt(rules: list[str], outcome: Outcome) -> None:
    ids = [f"accounting/{rule}" for rule in rules]
    accounting = broken("accounting", *ids) if ids else result("accounting", P)
    assert evaluate([accounting, result("faults-fired", U)], BY_RULE, None, ())[0] == outcome


DEATH = Cause(
    rule="server-alive/died",
    signature="server-alive/died: server",
    violations=1,
    follow={"outcomes/request-failed": 3},
    inconclusive=["drained"],
)
DIES = Expectation(releases="<0.19", fail=("server-alive/died",), issue="vllm#36533")


def test_findings_that_follow_from_an_expected_exit_are_not_counted() -> None:
    results = [
        broken("server-alive", "server-alive/died"),
        broken("outcomes", "outcomes/request-failed"),
        result("drained", U),
    ]
    assert evaluate(results, DIES, None, [DEATH])[0] == "as expected"
    assert [match_expectation(each, DIES, [DEATH]) for each in results] == [
        ExpectationMatch.EXPECTED,
        ExpectationMatch.FOLLOWS,
        ExpectationMatch.FOLLOWS,
    ]


def test_wrong_answer_beside_an_expected_exit_is_counted() -> None:
    results = [
        broken("server-alive", "server-alive/died"),
        broken("outcomes", "outcomes/request-failed", "outcomes/finish-reason"),
        broken("answers", "answers/not-golden"),
    ]
    outcome, reasons = evaluate(results, DIES, None, [DEATH])
    assert outcome == "not as expected"
    assert [unexpected(each, DIES, [DEATH]) for each in results] == [
        set(),
        {"outcomes/finish-reason"},
        {"answers/not-golden"},
    ]
    assert {"outcomes/finish-reason", "answers"} <= {line.split()[0] for line in reasons}


def test_an_oracle_that_cannot_judge_for_another_reason_than_the_death_is_unknown() -> None:
    results = [broken("server-alive", "server-alive/died"), result("client", U)]
    assert evaluate(results, DIES, None, [DEATH])[0] == "unknown"


def test_an_expectation_that_names_no_rule_is_unknown() -> None:
    slip = Expectation(releases=">=0.16", fail=("counters/decresed",), issue="vllm#1")
    outcome, reasons = evaluate([broken("counters", "counters/decresed")], slip, None, ())
    assert outcome == "unknown"
    assert len(reasons) == 1
    assert "counters/decresed" in reasons[0]


def test_an_expectation_that_names_no_oracle_is_unknown() -> None:
    slip = Expectation(releases=">=0.16", fail=("countres",), issue="vllm#1")
    outcome, reasons = evaluate([result("counters", P)], slip, None, ())
    assert outcome == "unknown"
    assert "countres" in reasons[0]


def test_expected_failure_names_its_issue() -> None:
    outcome, reasons = evaluate([result("counters", F), result("server-alive", U)], SEED_BUG, None, ())
    assert outcome == "as expected"
    (reason,) = reasons
    assert "vllm#36533" in reason
    assert match_expectation(result("counters", F), SEED_BUG, ()) is ExpectationMatch.EXPECTED


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["as expected"], 0),
        (["as expected", "as expected"], 0),
        (["as expected", "unknown"], 2),
        (["unknown", "not as expected", "as expected"], 1),
        ([], 2),
    ],
)
def test_exit_code_of_each_outcome(outcomes: list[Outcome], code: int) -> None:
    assert exit_code(outcomes) == code


@pytest.mark.parametrize("error", CRASHES)
def test_crashed_oracle_is_unknown_with_its_exception(error: type[Exception]) -> None:
    def crash(history: History) -> OracleResult:
        raise error("odd history")

    result = run_oracle(Oracle("counters", "", (), crash), clean_run().history())
    assert result.verdict is Verdict.UNKNOWN
    assert [gap.kind for gap in result.gaps] == ["counters/crashed"]
    assert error.__name__ in result.summary
    assert "odd history" in result.summary


@pytest.mark.parametrize(
    ("event", "data", "kind"),
    [
        ("interrupted", {"signal": "SIGINT"}, "run/interrupted"),
        ("run_failed", {"reason": "port"}, "run/failed"),
    ],
)
def test_an_interrupted_or_failed_run_is_unknown(event: str, data: dict[str, str], kind: str) -> None:
    run = clean_run()
    run.event(event, **data)
    verdict = judge(run.history())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == kind
    assert next(iter(data.values())) in verdict.cut.text


def test_a_run_without_its_last_step_is_unknown() -> None:
    run = clean_run()
    run.events = [event for event in run.events if event.data.get("where") != "final"]
    cut = cut_short(run.history())
    assert cut is not None
    assert cut.kind == "run/broke-off"


def test_a_clean_run_is_as_expected() -> None:
    verdict = judge(clean_run().history())
    assert verdict.outcome == "as expected"
    assert verdict.reasons == []


def test_the_seed_bug_is_an_expected_failure() -> None:
    expectation = Expectation(
        releases="<0.19",
        fail=("counters",),
        collateral=("logs", "server-alive", "transfer-invariants"),
        issue="vllm#36533",
    )
    run = clean_run(make_plan(vllm="0.18.0", expectation=expectation))
    run.log[2] = "ValueError: Counters can only be incremented by non-negative amounts."
    run.event("server_exit", code=1)
    verdict = judge(run.history())
    assert verdict.outcome == "as expected"
    assert "vllm#36533" in verdict.reasons[0]


def test_judging_a_run_directory_twice_writes_equal_files(tmp_path: Path) -> None:
    run = clean_run()
    run.change_request(3, logprobs=[-9.0, -0.25, -1.75, -0.125])
    run.log[1] = "\x1b[31mAssertionError\x1b[0m <tensor & block>"
    run.bump("vllm:kv_cache_usage_perc", float("nan"), since=5)
    write_run(run, tmp_path / "run")
    names = (layout.VERDICT, layout.JUNIT, layout.SUMMARY, layout.REPORT)
    verdict = judge_run_dir(tmp_path / "run")
    first = [(tmp_path / "run" / name).read_bytes() for name in names]
    assert judge_run_dir(tmp_path / "run") == verdict
    assert [(tmp_path / "run" / name).read_bytes() for name in names] == first
    assert msgspec.json.decode(first[0], type=RunVerdict) == verdict
    assert verdict == judge(run.history())
    assert ET.fromstring(first[1]).tag == "testsuites"
    assert verdict.outcome == "not as expected"


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRun):
        judge_run_dir(tmp_path / "nothing")
