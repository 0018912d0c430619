"""Host copies bring back bit for bit what was stored; a held copy is late, never lost, never half."""

from __future__ import annotations

import time
import unittest

import torch

from chaos.inside.inside_kinds import KINDS
from tests.server.contract.bench import Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.shapes.caches import BLOCKS
from tests.server.contract.shapes.workers import Copies, Finished
from tests.server.contract.waiting import wait_until

CONTENTS = sorted(name for name, kind in KINDS.items() if kind.site == "content")
"""Kinds of faults that damage what a copy brought."""

Planes = list[torch.Tensor]


def scramble(copies: Copies, seed: int) -> Planes:
    """Fill the device with noise, the padding too; a copy of the planes."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in (*copies.planes(), *copies.paddings()):
        tensor.copy_(torch.randint(0, 256, tensor.shape, generator=generator, dtype=torch.uint8))
    return snapshot(copies)


def snapshot(copies: Copies) -> Planes:
    """Copies of all planes of the device blocks."""
    return [plane.clone() for plane in copies.planes()]


def same(one: Planes, other: Planes) -> bool:
    """Whether all planes are equal to the last bit."""
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def moved(before: Planes, content: Planes, source: list[int], target: list[int]) -> Planes:
    """`before` with blocks `source` of `content` in its blocks `target`."""
    planes = [plane.clone() for plane in before]
    for plane, from_plane in zip(planes, content, strict=True):
        for source_block, target_block in zip(source, target, strict=True):
            plane[target_block] = from_plane[source_block]
    return planes


def ended(copies: Copies) -> dict[int, Finished]:
    """The jobs reported as finished now. Raises AssertionError when one is reported twice."""
    finished = copies.collect_finished()
    assert len(dict(finished)) == len(finished), f"reported twice: {finished}"
    return dict(finished)


def finish(copies: Copies, job: int, found: dict[int, Finished] | None = None) -> Finished:
    """Wait until this job, and no other, is reported; `found` is what was reported already."""
    found = dict(found or {})
    wait_until(lambda: bool(found.update(ended(copies)) or found), f"job {job} has finished")
    assert list(found) == [job]
    assert found[job].success
    return found[job]


def nothing_before(copies: Copies, earliest: float) -> dict[int, Finished]:
    """What is finished now, which must be nothing before a monotonic time in seconds."""
    found = ended(copies)
    assert not found or time.monotonic() >= earliest, "reported before its time"
    return found


def stored_and_loaded_blocks_are_bit_identical(bench: Bench) -> None:
    for chaos in (False, True):
        with control_room() as control:
            copies = bench.copies(1, control.path if chaos else None)
            content = scramble(copies, 1)
            assert copies.store(1, [3, 0, 7], [5, 1, 2])
            stored = finish(copies, 1)
            assert same(snapshot(copies), content), "storing changed the device"
            before = scramble(copies, 2)
            assert copies.load(2, [2, 5], [4, 9])
            loaded = finish(copies, 2)
            assert same(snapshot(copies), moved(before, content, [7, 3], [4, 9]))
            block_bytes = sum(plane.shape[1] for plane in content)
            assert (stored.size, loaded.size) == (3 * block_bytes, 2 * block_bytes)
            assert min(stored.seconds, loaded.seconds) > 0
            assert ended(copies) == {}, "a job was reported twice"


def bytes_beside_the_blocks_are_never_written(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        beside = [padding.clone() for padding in copies.paddings()]
        if not beside:
            raise unittest.SkipTest("tensors by layer hold blocks and nothing else")
        copies.store(2, [4, 5], [4, 5])
        finish(copies, 2)
        for job, kind in enumerate(CONTENTS, 3):
            control.arm(kind)
            copies.load(job, [0, 5, 2], [9, 4, 6])
            finish(copies, job)
        assert same(copies.paddings(), beside)


def chunks_of_two_blocks_keep_their_order(bench: Bench) -> None:
    with control_room():
        copies = bench.copies(2, None)
        content = scramble(copies, 3)
        copies.store(1, [8, 1, 5, 2], [4, 0])
        finish(copies, 1)
        before = scramble(copies, 4)
        copies.load(2, [0, 4], [10, 11, 0, 1])
        finish(copies, 2)
        assert same(snapshot(copies), moved(before, content, [5, 2, 8, 1], [10, 11, 0, 1]))


def a_load_may_begin_in_the_middle_of_a_chunk(bench: Bench) -> None:
    with control_room():
        copies = bench.copies(2, None)
        content = scramble(copies, 5)
        copies.store(1, [8, 1, 5, 2], [4, 0])
        finish(copies, 1)
        before = scramble(copies, 6)
        copies.load(2, [4, 0], [6, 3, 9], first=1)
        finish(copies, 2)
        assert same(snapshot(copies), moved(before, content, [1, 5, 2], [6, 3, 9]))
        before = scramble(copies, 7)
        copies.load(3, [0], [11], first=3)
        finish(copies, 3)
        assert same(snapshot(copies), moved(before, content, [2], [11]))


def prepared(bench: Bench, control: Control) -> tuple[Copies, Planes, Planes]:
    """Copies with blocks 0 to 3 stored in chunks 0 to 3; their content, and what lies on the device now."""
    copies = bench.copies(1, control.path)
    content = scramble(copies, 8)
    copies.store(1, [0, 1, 2, 3], [0, 1, 2, 3])
    finish(copies, 1)
    return copies, content, scramble(copies, 9)


def a_delayed_load_ends_only_after_its_delay(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("copy_delay", direction="load", min_ms=150, max_ms=150)
        began = time.monotonic()
        assert copies.load(2, [0, 1], [4, 5])
        assert same(snapshot(copies), before), "the copy did not wait"
        result = finish(copies, 2, nothing_before(copies, began + 0.15))
        assert time.monotonic() - began >= 0.15
        assert result.seconds >= 0.15, "the hold is not part of the transfer time"
        assert same(snapshot(copies), moved(before, content, [0, 1], [4, 5]))
        [proof] = control.fired()
        assert (proof["job"], proof["direction"]) == (2, "load")
        assert result.seconds >= proof["ms"] / 1e3 >= 0.15


def a_waited_for_load_is_done_when_the_wait_returns(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("copy_delay", {"nth": [0, 1]}, direction="load", min_ms=200, max_ms=200)
        began = time.monotonic()
        copies.load(2, [0], [4])
        copies.load(3, [1], [5])
        copies.load(4, [2], [6])
        assert same(snapshot(copies), moved(before, content, [2], [6])), "what is not due was held"
        copies.wait({2, 4, 77})
        assert time.monotonic() - began >= 0.2
        now = snapshot(copies)
        assert torch.equal(now[0][4], content[0][0]), "the wait came back before the copy was done"
        copies.wait({3})
        assert same(snapshot(copies), moved(before, content, [0, 1, 2], [4, 5, 6]))
        results = ended(copies)
        assert sorted(results) == [2, 3, 4]
        assert results[2].seconds >= 0.2 <= results[3].seconds
        assert [proof["job"] for proof in control.fired()] == [2, 3]


def delays_are_between_their_bounds_and_vary(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("copy_delay", direction="load", min_ms=5, max_ms=60)
        for job in range(2, 8):
            copies.load(job, [0], [4])
            copies.wait({job})
        ended(copies)
        delays_ms = [proof["ms"] for proof in control.fired()]
        assert len(delays_ms) == 6
        assert min(delays_ms) >= 5
        assert max(delays_ms) - min(delays_ms) > 1, f"all the same: {delays_ms}"


def a_delay_of_one_direction_leaves_the_other_alone(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("copy_delay", direction="store", min_ms=100, max_ms=100)
        copies.load(2, [0], [4])
        assert list(ended(copies)) == [2]
        began = time.monotonic()
        copies.store(3, [4], [4])
        assert finish(copies, 3, nothing_before(copies, began + 0.1)).seconds >= 0.1
        assert [proof["direction"] for proof in control.fired()] == ["store"]


def a_copy_delayed_while_its_fault_is_healed_still_ends(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("copy_delay", direction="load", min_ms=300, max_ms=300)
        copies.load(2, [3], [BLOCKS - 1])
        healed = control.heal()
        copies.load(3, [2], [4])
        assert healed["evidence"]["fired"] == 1
        results = ended(copies)
        wait_until(lambda: bool(results.update(ended(copies)) or 2 in results), "the held copy ends")
        assert results[2].seconds >= 0.3
        assert 3 in results
        assert [proof["job"] for proof in control.fired()] == [2], "held after healing"
        assert same(snapshot(copies), moved(before, content, [3, 2], [BLOCKS - 1, 4]))


CHECKS = (
    stored_and_loaded_blocks_are_bit_identical,
    bytes_beside_the_blocks_are_never_written,
    chunks_of_two_blocks_keep_their_order,
    a_load_may_begin_in_the_middle_of_a_chunk,
    a_delayed_load_ends_only_after_its_delay,
    a_waited_for_load_is_done_when_the_wait_returns,
    delays_are_between_their_bounds_and_vary,
    a_delay_of_one_direction_leaves_the_other_alone,
    a_copy_delayed_while_its_fault_is_healed_still_ends,
)
