"""Each kind of damage to a block's content does what its name says, and its proof counts every byte."""

from __future__ import annotations

from typing import Any

import torch

from tests.server.contract.bench import Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.copies import Planes, finish, prepared, same
from tests.server.contract.damage import TARGET, differences, loaded

FLOATS = {2: torch.float16, 4: torch.float32, 8: torch.float64}
"""Number types by their bytes."""


def struck(bench: Bench, control: Control, kind: str, **params: object) -> tuple[Planes, Planes, Any]:
    """Load with every arrival struck: what a healthy load leaves, what lies there, and the proof."""
    copies, content, before = prepared(bench, control)
    control.arm(kind, None, **params)
    healthy, found = loaded(copies, 2, before, content)
    [proof] = control.fired()
    assert proof["direction"] == "load"
    assert proof["bytes_changed"] == len(differences(healthy, found)) > 0
    return healthy, found, proof


def only(blocks: set[int], healthy: Planes, found: Planes) -> None:
    """Raises AssertionError when a block beside these differs, or one of these does not."""
    assert {block for _, block, *_ in differences(healthy, found)} == blocks


def bit_flip_hits_as_many_numbers_as_requested_one_after_the_other(bench: Bench) -> None:
    for count in (1, 5):
        with control_room() as control:
            healthy, found, proof = struck(bench, control, "bit_flip", count=count, bit=9)
            changed = differences(healthy, found)
            size = healthy[0].shape[1]
            expected = {(proof["offset"] + 4 * step) % size for step in range(count)}
            assert {offset for _, _, offset, _, _ in changed} == expected
            assert {was ^ now for *_, was, now in changed} == {1 << 1}
            assert len({(plane, block) for plane, block, *_ in changed}) == 1
    with control_room() as control:
        healthy, found, proof = struck(bench, control, "bit_flip", count=1_000_000)
        assert proof["bytes_changed"] == healthy[0].shape[1] // 4, "no number is hit twice"


def damage_of_one_plane_hits_the_requested_plane(bench: Bench) -> None:
    for kind in ("bit_flip", "nan"):
        for plane in (0, 1):
            with control_room() as control:
                healthy, found, proof = struck(bench, control, kind, plane=plane)
                assert {hit_plane for hit_plane, *_ in differences(healthy, found)} == {plane}
                assert proof["plane"]


def noise_changes_the_lower_half_of_every_number_and_keeps_it_finite(bench: Bench) -> None:
    for number_bytes in FLOATS:
        with control_room() as control:
            healthy, found, proof = struck(bench, control, "noise", word_bytes=number_bytes)
            only({proof["block"]}, healthy, found)
            changed = differences(healthy, found)
            assert all(offset % number_bytes < number_bytes // 2 for _, _, offset, _, _ in changed)
            assert len({plane for plane, *_ in changed}) == len(healthy), "a plane was left out"
            if number_bytes == 4:
                numbers = {(plane, offset // number_bytes) for plane, _, offset, _, _ in changed}
                assert len(numbers) > 0.99 * sum(plane.shape[1] // number_bytes for plane in healthy)
                assert same(finite(healthy, proof["block"]), finite(found, proof["block"]))


def finite(planes: Planes, block: int) -> Planes:
    """Which of the numbers of a block are finite, plane by plane."""
    return [torch.isfinite(plane[block].view(torch.float32)) for plane in planes]


def nan_makes_exactly_one_number_not_a_number(bench: Bench) -> None:
    for number_bytes, numbers in FLOATS.items():
        with control_room() as control:
            healthy, found, proof = struck(bench, control, "nan", word_bytes=number_bytes)
            [(plane, block, number)] = {
                (plane, block, offset // number_bytes)
                for plane, block, offset, _, _ in differences(healthy, found)
            }
            assert (block, number * number_bytes) == (proof["block"], proof["offset"])
            assert block in TARGET
            assert bool(torch.isnan(found[plane][block].view(numbers)[number]))


def nan_in_numbers_of_one_byte_changes_that_byte_alone(bench: Bench) -> None:
    with control_room() as control:
        healthy, found, proof = struck(bench, control, "nan", word_bytes=1)
        [(_, block, offset, _, now)] = differences(healthy, found)
        assert (block, offset, now) == (proof["block"], proof["offset"], 0x7F)


def swap_blocks_exchanges_two_blocks_of_the_copy(bench: Bench) -> None:
    with control_room() as control:
        healthy, found, proof = struck(bench, control, "swap_blocks")
        one, other = proof["block"], proof["other"]
        assert {one, other} < set(TARGET)
        for was, now in zip(healthy, found, strict=True):
            assert torch.equal(now[one], was[other])
            assert torch.equal(now[other], was[one])
        only({one, other}, healthy, found)


def shift_blocks_gives_each_block_the_content_of_the_next(bench: Bench) -> None:
    with control_room() as control:
        healthy, found, proof = struck(bench, control, "shift_blocks")
        assert proof["blocks"] == TARGET
        for was, now in zip(healthy, found, strict=True):
            assert torch.equal(now[TARGET[:-1]], was[TARGET[1:]])
        only(set(TARGET[:-1]), healthy, found)


def truncate_block_zeroes_the_second_half_of_one_block(bench: Bench) -> None:
    with control_room() as control:
        healthy, found, proof = struck(bench, control, "truncate_block")
        block = proof["block"]
        only({block}, healthy, found)
        for was, now in zip(healthy, found, strict=True):
            half = was.shape[1] // 2
            assert torch.equal(now[block, :half], was[block, :half])
            assert int(now[block, half:].count_nonzero()) == 0


def stale_block_brings_content_of_an_earlier_copy(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("stale_block", {"nth": [1]})
        copies.load(2, [3], [11])
        finish(copies, 2)
        before = [plane.clone() for plane in copies.planes()]
        healthy, found = loaded(copies, 3, before, content)
        [proof] = control.fired()
        only({proof["block"]}, healthy, found)
        assert proof["block"] in TARGET
        assert proof["bytes_changed"] == len(differences(healthy, found))
        for now, old in zip(found, content, strict=True):
            assert torch.equal(now[proof["block"]], old[3]), "not what the earlier copy brought"


def stale_block_is_refused_when_no_copy_came_before(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("stale_block", {"nth": [0]})
        healthy, found = loaded(copies, 2, before, content)
        assert same(healthy, found)
        assert control.fired() == []
        assert [line["n"] for line in control.lines() if line["event"] == "refused"] == [0]


def a_copy_of_one_block_offers_nothing_to_swap_or_shift(bench: Bench) -> None:
    for kind in ("swap_blocks", "shift_blocks"):
        with control_room() as control:
            copies, _, _ = prepared(bench, control)
            control.arm(kind)
            copies.load(2, [1], [5])
            loaded_block = [plane[5].clone() for plane in copies.planes()]
            finish(copies, 2)
            assert same([plane[5] for plane in copies.planes()], loaded_block)
            assert control.fired() == []
            assert control.heal()["evidence"]["fired"] == 0


CHECKS = (
    bit_flip_hits_as_many_numbers_as_requested_one_after_the_other,
    damage_of_one_plane_hits_the_requested_plane,
    noise_changes_the_lower_half_of_every_number_and_keeps_it_finite,
    nan_makes_exactly_one_number_not_a_number,
    nan_in_numbers_of_one_byte_changes_that_byte_alone,
    swap_blocks_exchanges_two_blocks_of_the_copy,
    shift_blocks_gives_each_block_the_content_of_the_next,
    truncate_block_zeroes_the_second_half_of_one_block,
    stale_block_brings_content_of_an_earlier_copy,
    stale_block_is_refused_when_no_copy_came_before,
    a_copy_of_one_block_offers_nothing_to_swap_or_shift,
)
