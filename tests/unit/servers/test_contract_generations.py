"""A generation that the contract is never asked on would break unseen."""

from __future__ import annotations

import pytest

from kvchaos.servers.releases import known_releases
from tests.server.contract.generations import MINORS, ONE_OF_EACH, generation_of
from tests.server.contract.listed import CHECKS, LEFT_OUT


@pytest.mark.parametrize("release", known_releases())
def test_every_installable_release_has_a_generation(release: str) -> None:
    assert generation_of(release) in MINORS


def test_contract_tests_cover_a_release_of_each_generation() -> None:
    installable = dict.fromkeys(generation_of(release) for release in known_releases())
    assert [generation_of(release) for release in ONE_OF_EACH] == list(installable)


def test_skipped_contract_checks_name_known_checks_and_generations() -> None:
    assert set(LEFT_OUT) <= set(MINORS)
    assert {check for reasons in LEFT_OUT.values() for check in reasons} <= set(CHECKS)
