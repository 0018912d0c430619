"""The corpus of alterations holds: each kind is named, applies to a stored run, and is noticed or listed."""

from __future__ import annotations

from random import Random

import pytest

from tests.alterations.__main__ import main
from tests.alterations.blind import BLIND
from tests.alterations.corpus import KINDS
from tests.alterations.judged import Applied, apply, run_names, unaltered

SAMPLE = 12
"""Kinds that are tried here; `python -m tests.alterations` tries all."""
SEED = 1
SURE = sorted(name for name, kind in KINDS.items() if kind.blind is None and kind.unnoticeable is None)


def test_alteration_corpus_has_enough_kinds_and_runs() -> None:
    assert len(KINDS) >= 250
    assert len(run_names()) >= 10


def test_blind_list_names_existing_kinds() -> None:
    assert BLIND.keys() <= KINDS.keys()
    assert all(reason for reason in BLIND.values())


@pytest.mark.parametrize("name", run_names())
def test_rewritten_unaltered_run_is_as_expected(name: str) -> None:
    assert unaltered(name).outcome == "as expected"


@pytest.mark.parametrize("name", Random(SEED).sample(SURE, SAMPLE))
def test_alteration_is_reported_by_its_rule(name: str) -> None:
    applied = list(apply(KINDS[name], 1))
    assert applied
    assert all(each.right for each in applied), applied


def test_a_rule_that_is_not_the_expected_one_is_no_success() -> None:
    kind = KINDS["requests/status-500"]
    assert not Applied(kind, "run", "another rule", "").right


def test_alterations_command_lists_kinds_and_refuses_unknown_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--run", "requests/lost"]) == 0
    assert capsys.readouterr().out.startswith("requests/lost: ")
    assert main(["--run", "nothing/of/this"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
