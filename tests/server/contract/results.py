"""How the end of a copy is reported: late, never, twice, in reverse, as a failure, or the copy is not taken.

What the copy moves is right in each of these; only the word about it is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from tests.server.contract.bench import Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.copies import CONTENTS, Planes, ended, finish, moved, prepared, same, snapshot
from tests.server.contract.damage import RESULTS, loaded
from tests.server.contract.shapes.workers import Copies, Finished
from tests.server.contract.waiting import wait_until

DIRECTIONS = ("load", "store")


def copy(copies: Copies, job: int, direction: str) -> bool:
    """Start a copy of one block, 1 of the tier and 5 of the device; whether it was taken."""
    return copies.load(job, [1], [5]) if direction == "load" else copies.store(job, [5], [1])


def store_and_load(bench: Bench, control: Control, kind: str, direction: str, **params: object) -> Copies:
    """Copies with the fault armed for the first copy of one direction."""
    copies, _, _ = prepared(bench, control)
    control.arm(kind, {"nth": [0]}, direction=direction, **params)
    return copies


def proof_of(control: Control, direction: str) -> dict[str, object]:
    """The one proof; it names job 3 and the direction."""
    [line] = [line for line in control.lines() if line["event"] == "fired"]
    assert (line["fault"], line["n"]) == ("f1", 0)
    proof: dict[str, object] = line["evidence"]
    assert (proof["job"], proof["direction"]) == (3, direction)
    return proof


def settle(copies: Copies, direction: str) -> None:
    """A copy of the other direction, which must pass untouched as job 2."""
    other = DIRECTIONS[direction == "load"]
    assert copy(copies, 2, other)
    finish(copies, 2)


def copy_refused_takes_no_copy_and_moves_nothing(bench: Bench) -> None:
    a_copy_that_is_not_taken_moves_nothing(bench, "copy_refused", lambda taken: taken() is False)


def a_copy_that_is_not_taken_moves_nothing(
    bench: Bench, kind: str, not_taken: Callable[[Callable[[], bool]], bool]
) -> None:
    """`not_taken` asks for the copy, and says whether the worker did not take it, in the way of the kind."""
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, kind, direction)
            settle(copies, direction)
            before = snapshot(copies)
            assert not_taken(partial(copy, copies, 3, direction))
            assert same(snapshot(copies), before)
            assert copies.collect_finished() == []
            proof_of(control, direction)
            assert copy(copies, 4, direction) is True
            finish(copies, 4)


def a_refused_store_leaves_the_tier_as_it_was(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("copy_refused", direction="store")
        assert copies.store(2, [8, 9], [0, 1]) is False
        healthy, found = loaded(copies, 3, before, content)
        assert same(healthy, found)


def copy_failed_is_reported_as_a_failure_of_that_job_alone(bench: Bench) -> None:
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, "copy_failed", direction)
            settle(copies, direction)
            copy(copies, 3, direction)
            [(job, result)] = copies.collect_finished()
            assert (job, result.success) == (3, False)
            proof_of(control, direction)
            copy(copies, 4, direction)
            finish(copies, 4)


def completion_late_is_reported_once_when_its_time_has_come(bench: Bench) -> None:
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, "completion_late", direction, min_ms=150, max_ms=150)
            settle(copies, direction)
            copy(copies, 3, direction)
            began = time.monotonic()
            assert ended(copies) == {}, "reported at once"
            finish(copies, 3)
            assert time.monotonic() - began >= 0.15
            assert proof_of(control, direction)["ms"] == 150
            assert copies.collect_finished() == []


def a_late_end_does_not_make_the_copy_late(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("completion_late", min_ms=50, max_ms=50)
        copies.load(2, [0], [4])
        assert ended(copies) == {}
        assert same(snapshot(copies), moved(before, content, [0], [4]))
        assert finish(copies, 2).seconds < 0.05, "the copy itself was not slow"


def a_late_end_is_reported_although_its_fault_was_healed(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("completion_late", min_ms=200, max_ms=200)
        copies.load(2, [0], [4])
        assert ended(copies) == {}
        control.heal()
        copies.load(3, [1], [5])
        found: dict[int, Finished] = {}
        wait_until(lambda: bool(found.update(ended(copies)) or 2 in found), "the late end is reported")
        assert list(found) == [3, 2]


def completion_lost_is_never_reported(bench: Bench) -> None:
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, "completion_lost", direction)
            settle(copies, direction)
            copy(copies, 3, direction)
            assert copies.collect_finished() == []
            proof_of(control, direction)
            copies.wait({3})
            control.heal()
            copy(copies, 4, direction)
            finish(copies, 4)
            assert copies.collect_finished() == []


def completion_twice_is_reported_twice(bench: Bench) -> None:
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, "completion_twice", direction, later=False)
            settle(copies, direction)
            copy(copies, 3, direction)
            finished = copies.collect_finished()
            assert [(job, result.success) for job, result in finished] == [(3, True), (3, True)]
            proof_of(control, direction)
            assert copies.collect_finished() == []


def completion_reorder_reports_the_ends_in_reverse(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("completion_reorder", {"nth": [0]})
        load_blocks(copies, 2)
        finish(copies, 2)
        assert control.fired() == [], "one end has no order"
        load_blocks(copies, 3, 4, 5)
        assert [job for job, _ in copies.collect_finished()] == [5, 4, 3]
        assert [proof["jobs"] for proof in control.fired()] == [[5, 4, 3]]
        load_blocks(copies, 6, 7)
        assert [job for job, _ in copies.collect_finished()] == [6, 7]
        assert same(snapshot(copies), moved(before, content, [0, 1, 2], [4, 5, 6]))


def load_blocks(copies: Copies, *jobs: int) -> None:
    """One load a job, of blocks 0, 1, 2 of the tier into 4, 5, 6 of the device."""
    for index, job in enumerate(jobs[:3]):
        copies.load(job, [index], [4 + index])


def a_result_fault_moves_the_right_content(bench: Bench) -> None:
    for kind in RESULTS:
        with control_room() as control:
            copies, content, before = prepared(bench, control)
            control.arm(kind)
            copies.load(2, [0, 2], [4, 9])
            copies.collect_finished()
            copies.collect_finished()
            assert same(snapshot(copies), moved(before, content, [0, 2], [4, 9]))
            assert len(control.fired()) == 1


def a_dry_run_of_a_reorder_keeps_the_order(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("completion_reorder", dry_run=True)
        load_blocks(copies, 2, 3)
        assert [job for job, _ in copies.collect_finished()] == [2, 3]
        assert control.fired() == []


def copies_and_their_ends_are_plain_when_nothing_is_armed_or_all_is_healed(bench: Bench) -> None:
    for kind in (None, *CONTENTS, *RESULTS, "copy_refused", "completion_reorder"):
        with control_room() as control:
            copies, content, before = prepared(bench, control)
            if kind is not None:
                control.arm(kind)
                control.heal()
            assert_plain(copies, before, content)
            assert control.fired() == []


def assert_plain(copies: Copies, before: Planes, content: Planes) -> None:
    """Raises AssertionError unless three loads and a store succeed and are reported once and in order."""
    load_blocks(copies, 2, 3, 4)
    assert same(snapshot(copies), moved(before, content, [0, 1, 2], [4, 5, 6]))
    finished = copies.collect_finished()
    assert [(job, result.success) for job, result in finished] == [(2, True), (3, True), (4, True)]
    assert copies.store(5, [4, 6], [5, 4])
    finish(copies, 5)
    copies.load(6, [4, 5], [10, 11])
    finish(copies, 6)
    assert same(snapshot(copies), moved(before, content, [0, 1, 2, 2, 0], [4, 5, 6, 10, 11]))


CHECKS = (
    copy_refused_takes_no_copy_and_moves_nothing,
    a_refused_store_leaves_the_tier_as_it_was,
    copy_failed_is_reported_as_a_failure_of_that_job_alone,
    completion_late_is_reported_once_when_its_time_has_come,
    a_late_end_does_not_make_the_copy_late,
    a_late_end_is_reported_although_its_fault_was_healed,
    completion_lost_is_never_reported,
    completion_twice_is_reported_twice,
    completion_reorder_reports_the_ends_in_reverse,
    a_result_fault_moves_the_right_content,
    a_dry_run_of_a_reorder_keeps_the_order,
    copies_and_their_ends_are_plain_when_nothing_is_armed_or_all_is_healed,
)
