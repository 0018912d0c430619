"""Damage is exactly what its proof says: one bit or one block of a load, and nothing after healing."""

from __future__ import annotations

import torch

from chaos.inside.inside_kinds import KINDS
from tests.server.contract.bench import Bench
from tests.server.contract.control import control_room
from tests.server.contract.copies import CONTENTS, Planes, finish, moved, prepared, same, snapshot
from tests.server.contract.shapes.workers import Copies

SOURCE, TARGET = [0, 1, 2], [9, 4, 6]
RESULTS = sorted(name for name, kind in KINDS.items() if kind.site == "copy-result")


def loaded(copies: Copies, job: int, before: Planes, content: Planes) -> tuple[Planes, Planes]:
    """Load blocks; what a healthy load leaves on the device, and what lies there."""
    copies.load(job, SOURCE, TARGET)
    finish(copies, job)
    return moved(before, content, SOURCE, TARGET), snapshot(copies)


def differences(one: Planes, other: Planes) -> list[tuple[int, int, int, int, int]]:
    """Plane, block, byte offset, byte before and after, of each byte that differs."""
    found = []
    for plane, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        for block, offset in torch.nonzero(mine != theirs).tolist():
            found.append((plane, block, offset, int(mine[block, offset]), int(theirs[block, offset])))
    return found


def bit_flip_changes_one_bit_of_one_loaded_block(bench: Bench) -> None:
    for word_bytes, bit in ((4, 22), (2, 0), (8, 63)):
        with control_room() as control:
            copies, content, before = prepared(bench, control)
            control.arm("bit_flip", {"every": 1}, word_bytes=word_bytes, bit=bit)
            struck = set()
            for job in range(2, 22):
                healthy, found = loaded(copies, job, before, content)
                [(plane, block, offset, was, now)] = differences(healthy, found)
                assert was ^ now == 1 << (bit % 8)
                assert block in TARGET
                assert offset % word_bytes == bit // 8
                proof = control.fired()[-1]
                assert (proof["block"], proof["offset"]) == (block, offset)
                assert (proof["before"], proof["after"], proof["bytes_changed"]) == (was, now, 1)
                struck.add((plane, block, offset))
            assert len(control.fired()) == 20
            assert len({plane for plane, _, _ in struck}) > 1, "always the same plane"
            assert len({block for _, block, _ in struck}) > 1, "always the same block"


def bit_flip_never_touches_the_tier(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("bit_flip", {"nth": [0]})
        healthy, found = loaded(copies, 2, before, content)
        assert len(differences(healthy, found)) == 1
        healthy, found = loaded(copies, 3, before, content)
        assert same(healthy, found), "a later load of the same block is damaged"


def zero_block_empties_one_loaded_block_in_all_planes(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("zero_block", {"nth": [0]})
        healthy, found = loaded(copies, 2, before, content)
        [proof] = control.fired()
        block = proof["block"]
        assert block in TARGET
        assert all(int(plane[block].count_nonzero()) == 0 for plane in found)
        changed = differences(healthy, found)
        assert {position[1] for position in changed} == {block}
        assert proof["bytes_changed"] == len(changed) > 0


def a_store_is_not_damaged_unless_the_fault_names_stores(bench: Bench) -> None:
    for kind in CONTENTS:
        with control_room() as control:
            copies, _, before = prepared(bench, control)
            control.arm(kind)
            copies.store(2, [1, 2], [4, 5])
            finish(copies, 2)
            assert same(snapshot(copies), before)
            assert control.fired() == []


def a_delayed_load_is_damaged_when_it_has_ended_not_before(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("bit_flip")
        copies.load(2, SOURCE, TARGET)
        healthy = moved(before, content, SOURCE, TARGET)
        assert control.fired() == []
        assert same(snapshot(copies), healthy)
        finish(copies, 2)
        assert len(differences(healthy, snapshot(copies))) == 1


def a_dry_run_changes_nothing(bench: Bench) -> None:
    for kind in (*CONTENTS, *RESULTS, "copy_delay", "copy_refused"):
        with control_room() as control:
            copies, content, before = prepared(bench, control)
            control.arm(kind, dry_run=True)
            healthy, found = loaded(copies, 2, before, content)
            assert same(healthy, found)
            assert control.fired() == []
            assert [line["n"] for line in control.lines() if line["event"] == "refused"] == [0]


def nothing_is_damaged_after_healing(bench: Bench) -> None:
    for kind in sorted(set(CONTENTS) - {"stale_block"}):
        with control_room() as control:
            copies, content, before = prepared(bench, control)
            control.arm(kind)
            healthy, found = loaded(copies, 2, before, content)
            assert not same(healthy, found)
            healed = control.heal()
            assert healed["evidence"]["fired"] == 1
            for job in range(3, 8):
                healthy, found = loaded(copies, job, before, content)
                assert same(healthy, found)
            assert len(control.fired()) == 1


CHECKS = (
    bit_flip_changes_one_bit_of_one_loaded_block,
    bit_flip_never_touches_the_tier,
    zero_block_empties_one_loaded_block_in_all_planes,
    a_store_is_not_damaged_unless_the_fault_names_stores,
    a_delayed_load_is_damaged_when_it_has_ended_not_before,
    a_dry_run_changes_nothing,
    nothing_is_damaged_after_healing,
)
