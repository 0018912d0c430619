"""The same seed strikes the same invocations in every version: decisions as stored runs have them."""

from __future__ import annotations

import hashlib
import json

import pytest

from chaos.inside.inside_kinds import KINDS
from chaos.inside.trigger_decisions import draw, draw_key, fires
from chaos.outside.injector import ANSWERED, SECOND, SENT
from history.protocol.schedule import Trigger

SEED = 7
FIRINGS = 200
STORED = {
    "bit_flip": ("content", "17ffc0065082"),
    "completion_late": ("copy-result", "e71b60acc6b7"),
    "completion_lost": ("copy-result", "e71b60acc6b7"),
    "completion_reorder": ("copy-results", "bdd26006186f"),
    "completion_twice": ("copy-result", "e71b60acc6b7"),
    "copy_delay": ("copy", "bd5c2be6e8df"),
    "copy_failed": ("copy-result", "e71b60acc6b7"),
    "copy_raises": ("copy", "bd5c2be6e8df"),
    "copy_refused": ("copy", "bd5c2be6e8df"),
    "evict": ("residency", "dc4f3cdde074"),
    "evict_after_hit": ("lookup", "ab7e1cc11064"),
    "load_failed": ("load-result", "7e57c7dcd033"),
    "load_failure": ("load-result", "7e57c7dcd033"),
    "lookup_miss": ("lookup", "ab7e1cc11064"),
    "lookup_retry": ("lookup", "ab7e1cc11064"),
    "manager_raises": ("manager-call", "47eb6562718e"),
    "nan": ("content", "17ffc0065082"),
    "noise": ("content", "17ffc0065082"),
    "over_report": ("lookup-miss", "829da3cd5846"),
    "shift_blocks": ("content", "17ffc0065082"),
    "stale_block": ("content", "17ffc0065082"),
    "store_failed": ("store-end", "09eef09b5f1e"),
    "store_refused": ("store", "6ba55eaf586d"),
    "swap_blocks": ("content", "17ffc0065082"),
    "tier_shrunk": ("residency", "dc4f3cdde074"),
    "truncate_block": ("content", "17ffc0065082"),
    "zero_block": ("content", "17ffc0065082"),
}
"""By kind of fault inside the server: its site, and a digest of the invocations that a trigger strikes."""
OUTSIDE = {SENT: "ad96e46b3394", ANSWERED: "be551b66b9df", SECOND: "77b3314a6a60"}
"""Digests by what faults from outside count."""


def digest(site: str) -> str:
    """Of the invocations of a site that a fault of probability 0.3 strikes."""
    trigger = Trigger(probability=0.3)
    struck = [[n for n in range(FIRINGS) if fires(trigger, SEED, "f", site, n)]]
    return hashlib.blake2b(json.dumps(struck).encode(), digest_size=6).hexdigest()


@pytest.mark.parametrize("kind", STORED)
def test_same_seed_strikes_the_same_invocations_as_stored_runs(kind: str) -> None:
    site = KINDS[kind].site
    assert (site, digest(site)) == STORED[kind]


def test_no_kind_of_fault_of_stored_runs_is_missing() -> None:
    assert STORED.keys() <= KINDS.keys()


@pytest.mark.parametrize("site", OUTSIDE)
def test_same_seed_strikes_the_same_moments_from_outside(site: str) -> None:
    assert digest(site) == OUTSIDE[site]


def test_same_seed_draws_the_same_choices() -> None:
    assert draw(SEED, "f", "content", 3, "block") == 12300532091260048509
    assert draw_key(SEED, "f", "lookup", "ab") == 2948407840011707637
