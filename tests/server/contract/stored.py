"""Damage to what a store wrote lies in the tier: the device stays as it was, every later load brings it."""

from __future__ import annotations

from tests.server.contract.bench import Bench
from tests.server.contract.control import control_room
from tests.server.contract.copies import CONTENTS, finish, moved, prepared, same, scramble, snapshot
from tests.server.contract.damage import differences, loaded

CHUNKS = [4, 5, 2]
"""Where the struck store writes; chunk 2 held something else before."""


def store_damage_stays_in_the_tier_and_affects_every_load(bench: Bench) -> None:
    for kind in CONTENTS:
        with control_room() as control:
            copies, _, _ = prepared(bench, control)
            # The first store is let pass: stale content needs an earlier one.
            control.arm(kind, {"nth": [1]}, direction="store")
            copies.store(2, [3], [3])
            finish(copies, 2)
            content = scramble(copies, 20)
            copies.store(3, [7, 1, 10], CHUNKS)
            finish(copies, 3)
            assert same(snapshot(copies), content), f"{kind} of a store changed the device"
            [proof] = control.fired()
            assert proof["direction"] == "store"
            control.heal()
            found = []
            for job in (4, 5):
                before = scramble(copies, 20 + job)
                copies.load(job, CHUNKS, [0, 1, 2])
                finish(copies, job)
                healthy = moved(before, content, [7, 1, 10], [0, 1, 2])
                found.append(differences(healthy, snapshot(copies)))
            assert len(found[0]) == proof["bytes_changed"] > 0, kind
            assert [position[:3] for position in found[0]] == [position[:3] for position in found[1]], kind


def damage_of_a_store_leaves_the_rest_of_the_tier_alone(bench: Bench) -> None:
    for kind in CONTENTS:
        with control_room() as control:
            copies, content, _ = prepared(bench, control)
            control.arm(kind, direction="store")
            scramble(copies, 30)
            copies.store(2, [7, 1], [4, 5])
            finish(copies, 2)
            before = scramble(copies, 31)
            healthy, found = loaded(copies, 3, before, content)
            assert same(healthy, found), f"{kind} hit a block that was not stored, or a load"
            assert {proof["direction"] for proof in control.fired()} <= {"store"}


def damage_of_a_store_in_chunks_of_two_blocks_hits_that_store(bench: Bench) -> None:
    with control_room() as control:
        copies = bench.copies(2, control.path)
        old = scramble(copies, 40)
        copies.store(1, [0, 1, 2, 3], [1, 2])
        finish(copies, 1)
        control.arm("zero_block", direction="store")
        new = scramble(copies, 41)
        copies.store(2, [8, 1, 5, 2], [4, 0])
        finish(copies, 2)
        [proof] = control.fired()
        control.heal()
        before = scramble(copies, 42)
        copies.load(3, [1, 2, 4, 0], [4, 5, 6, 7, 8, 9, 10, 11])
        finish(copies, 3)
        healthy = moved(moved(before, old, [0, 1, 2, 3], [4, 5, 6, 7]), new, [8, 1, 5, 2], [8, 9, 10, 11])
        found = snapshot(copies)
        [block] = {block for _, block, *_ in differences(healthy, found)}
        # Of the tier: blocks 8 and 9 are in chunk 4, 0 and 1 in chunk 0.
        assert proof["block"] == {8: 8, 9: 9, 10: 0, 11: 1}[block]
        assert all(int(plane[block].count_nonzero()) == 0 for plane in found)


def a_fault_of_both_directions_hits_stores_and_loads(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("bit_flip", direction="both")
        copies.store(2, [7], [5])
        finish(copies, 2)
        loaded(copies, 3, before, content)
        assert [proof["direction"] for proof in control.fired()] == ["store", "load"]


CHECKS = (
    store_damage_stays_in_the_tier_and_affects_every_load,
    damage_of_a_store_leaves_the_rest_of_the_tier_alone,
    damage_of_a_store_in_chunks_of_two_blocks_hits_that_store,
    a_fault_of_both_directions_hits_stores_and_loads,
)
