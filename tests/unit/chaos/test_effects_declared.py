"""Each contract-violating fault declares what comes of it, or says why it does not."""

from __future__ import annotations

import pytest

from chaos import fault_catalogue
from chaos.inside.fault_kind import CONTRACT_VIOLATING
from history.protocol.schedule import Value
from oracles import all_rules


@pytest.mark.parametrize("kind", fault_catalogue.KINDS.values(), ids=lambda kind: kind.name)
def test_violating_faults_declare_effects_or_a_reason_and_conforming_have_none(
    kind: fault_catalogue.Kind,
) -> None:
    if kind.contract == CONTRACT_VIOLATING:
        assert kind.declared or kind.undeclared
    else:
        assert not kind.declared
        assert not kind.undeclared


@pytest.mark.parametrize("kind", fault_catalogue.KINDS.values(), ids=lambda kind: kind.name)
def test_declared_effects_name_existing_rules_and_parameters(kind: fault_catalogue.Kind) -> None:
    rules = {rule.id for rule in all_rules()}
    for effect in kind.declared:
        assert set(effect.rules) <= rules
        assert effect.when.keys() <= kind.parameters.keys()
        assert effect.direction is None or "direction" in kind.parameters


@pytest.mark.parametrize(
    ("kind", "params", "count"),
    [
        ("bit_flip", {}, 1),
        ("bit_flip", {"bit": 30}, 0),
        ("bit_flip", {"word_bytes": 2, "bit": 6}, 1),
        ("bit_flip", {"word_bytes": 2, "bit": 7}, 0),
        ("bit_flip", {"dry_run": True}, 0),
        ("nan", {}, 1),
        ("completion_twice", {}, 1),
        ("completion_twice", {"later": False}, 0),
        ("completion_lost", {}, 4),
        ("completion_lost", {"direction": "store"}, 0),
        ("completion_lost", {"direction": "both"}, 4),
        ("copy_failed", {"direction": "store"}, 1),
        ("load_failure", {}, 0),
        ("kill", {}, 0),
    ],
)
def test_effects_depend_on_the_parameters(kind: str, params: dict[str, Value], count: int) -> None:
    assert len(fault_catalogue.effects(kind, params)) == count
