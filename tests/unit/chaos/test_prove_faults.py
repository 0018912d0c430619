"""The proofs leave no kind of fault out, and each of their scenarios can be run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from packaging.version import Version

from chaos.inside.inside_kinds import KINDS
from kvchaos.planning.scenario_file import load_scenario
from tests.server.proof.cases import Proof, all_proofs, scenario_of

NEWEST = Version("0.32.0")


def test_every_fault_kind_and_variant_has_one_proof() -> None:
    cases = [case for proof in all_proofs(NEWEST) for case in proof.cases]
    assert {case.kind for case in cases} == set(KINDS)
    assert len(set(cases)) == len(cases)
    assert {case.variant for case in cases if case.kind == "copy_delay"} == {"load", "store"}
    assert {case.variant for case in cases if case.kind == "evict"} == {None}


def test_fault_without_an_injection_point_is_not_proved_on_that_release() -> None:
    kinds = {case.kind for proof in all_proofs(Version("0.18.0")) for case in proof.cases}
    assert kinds == {name for name, kind in KINDS.items() if not kind.since}


@pytest.mark.parametrize("proof", list(all_proofs(NEWEST)), ids=lambda proof: proof.name)
def test_scenario_of_a_proof_is_valid_and_complete(proof: Proof, tmp_path: Path) -> None:
    path = tmp_path / "proof.yaml"
    path.write_text(yaml.safe_dump(scenario_of(proof)))
    scenario = load_scenario(path)
    assert [fault.kind for fault in scenario.faults] == [case.kind for case in proof.cases]
