"""A rule that nothing was seen to break proves nothing, and one whose id changes is another rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from history.earlier_values import revised_ledger
from history.expected_findings import Expectation
from history.protocol import audit_records as recorded
from history.reader import History, read_history
from history.verdict import SERVER, Verdict, request
from kvchaos.selftest.alterations import ALTERATIONS
from kvchaos.selftest.kill_matrix import kills_by_rule, score_alterations
from oracles import ORACLES, all_rules, judges_of, transfer_invariants
from oracles.findings import MAX_FINDINGS, Alteration, Findings, Rule, shortened
from tests.support.stored import DATA, unpack

ONE = Rule("one/first", "It holds.", "arithmetic", ())
OTHER = Rule("one/other", "It holds, too.", "arithmetic", ())


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A run of a real server with faults that the contract allows."""
    return read_history(unpack(DATA / "green.tar.xz", tmp_path_factory.mktemp("green")))


def test_ids_of_rules_are_unique_and_begin_with_their_oracle() -> None:
    ids = [rule.id for rule in all_rules()]
    assert len(set(ids)) == len(ids)
    for oracle in ORACLES:
        assert {rule.oracle for rule in oracle.rules} <= {oracle.name}


def test_every_law_is_one_sentence() -> None:
    assert [rule.id for rule in all_rules() if not rule.law.endswith(".") or ". " in rule.law] == []


def test_only_the_oracle_of_the_client_has_no_rule() -> None:
    assert [oracle.name for oracle in ORACLES if not oracle.rules] == ["client"]


def test_every_rule_has_a_mutant_or_an_alteration() -> None:
    assert [rule for rule, broken_by in kills_by_rule().items() if not broken_by] == []


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda alteration: f"{alteration.rule.id}")
def test_an_alteration_of_a_green_run_breaks_its_rule(alteration: Alteration, green: History) -> None:
    (row,) = score_alterations(green, [alteration]).rows
    assert row.killed, row.evidence


def test_the_run_that_is_altered_is_green(green: History) -> None:
    results = [oracle.judge(green) for oracle in judges_of(green.plan)]
    assert {result.verdict for result in results} == {Verdict.PASS}


def test_alteration_missed_by_its_rule_fails_the_proof(green: History) -> None:
    blind = replace(ALTERATIONS[0], alter=lambda history: history)
    scored = score_alterations(green, [blind])
    assert not scored.passed
    assert scored.rows[0].evidence.startswith("pass: ")


def test_oracles_know_every_rule_of_the_chaos_module() -> None:
    assert set(recorded.EARLIER_RULES.values()) == set(transfer_invariants.RECORDED)


def _findings(count: int) -> Iterator[Findings]:
    found = Findings("one")
    for number in range(count):
        found.violation(ONE, request(f"r-{number}"), f"it broke {number}")
    yield found


def test_frequent_violation_does_not_hide_other_rules() -> None:
    (found,) = _findings(3 * MAX_FINDINGS)
    found.violation(OTHER, SERVER, "and that")
    result = found.result("")
    kept = shortened(result.findings)
    assert [finding.rule for finding in kept] == [*[ONE.id] * MAX_FINDINGS, OTHER.id]
    assert result.by_rule == {ONE.id: 3 * MAX_FINDINGS, OTHER.id: 1}
    assert result.violations == 3 * MAX_FINDINGS + 1


def test_nan_figure_appears_in_the_text_only() -> None:
    found = Findings("one")
    found.violation(ONE, SERVER, "from 1 to nan", samples=[(1, 1.0), (2, float("nan"))])
    assert found.result("").findings[0].samples == [(1, 1.0)]


def test_expectations_of_earlier_versions_name_the_same_oracles() -> None:
    old = {"releases": ">=0.16", "fail": ["ledger"], "collateral": ["witnesses"], "issue": "x"}
    expectation = Expectation.model_validate(old, strict=False)
    assert (expectation.fail, expectation.collateral) == (("transfer-invariants",), ("metrics-crosscheck",))


def test_ledgers_of_earlier_versions_name_the_same_rules(tmp_path: Path) -> None:
    hang = read_history(unpack(DATA / "hang.tar.xz", tmp_path))
    line = replace_rule(hang, "a block is stored twice at a time")
    assert "transfer-invariants/block-stored-twice" in transfer_invariants.judge(line).by_rule


def replace_rule(history: History, rule: str) -> History:
    """With a violation in the ledger, by the sentence of an earlier version."""
    last = history.ledger[-1]
    violation = type(last)(
        t_ns=last.t_ns,
        mono_ns=last.mono_ns,
        role=last.role,
        pid=last.pid,
        event="violation",
        rule=rule,
        evidence={"key": "00"},
    )
    return replace(history, ledger=[*history.ledger, revised_ledger(violation)])
