"""The audit finds damage that no fault did. That it finds nothing else, every other check sees to."""

from __future__ import annotations

from history.protocol import audit_records as rules
from tests.server.contract.bench import Bench
from tests.server.contract.control import control_room
from tests.server.contract.copies import finish, prepared


def a_block_that_changed_in_the_tier_is_found_when_it_is_loaded(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        copies.tier()[1].bytes_of(1)[5] ^= 4
        copies.load(2, [0, 1, 2], [4, 5, 6])
        finish(copies, 2)
        control.breaks = [rules.CHANGED_IN_TIER]


def a_device_block_that_changes_during_a_delayed_store_is_found(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("copy_delay", direction="store", min_ms=80, max_ms=80)
        copies.store(2, [4, 5], [3, 4])
        copies.planes()[0][5][7] ^= 1
        finish(copies, 2)
        control.breaks = [rules.CHANGED_WHILE_STORED]


def a_tier_block_that_changes_during_a_delayed_load_is_found(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("copy_delay", direction="load", min_ms=80, max_ms=80)
        copies.load(2, [0, 1], [4, 5])
        copies.tier()[0].bytes_of(0)[0] ^= 128
        finish(copies, 2)
        control.breaks = [rules.CHANGED_WHILE_LOADED]


def a_copy_that_is_begun_twice_is_found(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        copies.store(2, [4], [3])
        copies.store(2, [4], [3])
        control.breaks = [rules.COPY_BEGUN_TWICE]


CHECKS = (
    a_block_that_changed_in_the_tier_is_found_when_it_is_loaded,
    a_device_block_that_changes_during_a_delayed_store_is_found,
    a_tier_block_that_changes_during_a_delayed_load_is_found,
    a_copy_that_is_begun_twice_is_found,
)
