"""What raises, fails as a whole or is reported again does so where the fault says, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import msgspec
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector

from chaos.inside import process_globals
from chaos.inside.connector import ChaosConnector
from chaos.inside.fault_kind import SCHEDULER
from chaos.inside.faults.manager_calls import HOOKS
from chaos.inside.inside_kinds import unsupported_kinds
from chaos.inside.trigger_decisions import InjectedFailure
from history.protocol.evidence import LoadRetried
from tests.server.contract.bench import CHUNKS, Bench
from tests.server.contract.connector import BLOCKS, a_connector, load
from tests.server.contract.control import Control, control_room
from tests.server.contract.copies import ended, finish, prepared
from tests.server.contract.manager import KEYS, fill
from tests.server.contract.results import (
    DIRECTIONS,
    a_copy_that_is_not_taken_moves_nothing,
    copy,
    proof_of,
    settle,
    store_and_load,
)
from tests.server.contract.shapes.managers import Tier
from tests.server.contract.shapes.transfers import load_metadata
from tests.server.contract.waiting import wait_until


def raises(call: Callable[[], object]) -> bool:
    """Whether the call raises an injected failure."""
    try:
        call()
    except InjectedFailure:
        return True
    return False


def manager_raises_from_the_requested_hook_and_from_no_other(bench: Bench) -> None:
    for hook in HOOKS:
        with control_room() as control:
            tier = bench.tier(CHUNKS, control.path)
            fill(tier, KEYS[:2])
            control.arm("manager_raises", hook=hook)
            calls: dict[str, Callable[[], object]] = {
                "lookup": partial(tier.lookup, KEYS[:1]),
                "prepare_load": partial(tier.prepare_load, KEYS[:1]),
                "complete_load": partial(tier.complete_load, KEYS[:1]),
                "prepare_store": partial(tier.prepare_store, KEYS[2:3]),
                "complete_store": partial(tier.complete_store, KEYS[2:3], success=True),
            }
            if hook == "prepare_load":
                # Nothing is loaded then, so there is no load to complete.
                del calls["complete_load"]
            if hook == "prepare_store":
                del calls["complete_store"]
            assert [name for name, call in calls.items() if raises(call)] == [hook]
            assert control.fired() == [{"hook": hook}]


def a_manager_that_raised_is_whole_again_when_healed(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        control.arm("manager_raises", hook="prepare_store")
        assert raises(lambda: tier.prepare_store(KEYS[:2]))
        control.heal()
        fill(tier, KEYS[:2])
        assert tier.lookup(KEYS[:3]) == 2
        assert_loads(tier)


def assert_loads(tier: Tier) -> None:
    """Check that the first two blocks of the tier can be loaded."""
    assert len(tier.prepare_load(KEYS[:2])) == 2
    tier.complete_load(KEYS[:2])


def copy_raises_takes_no_copy_and_moves_nothing(bench: Bench) -> None:
    a_copy_that_is_not_taken_moves_nothing(bench, "copy_raises", _raises_or_refuses)


def _raises_or_refuses(taken: Callable[[], bool]) -> bool:
    """To 0.24 vLLM itself makes a refusal of an exception."""
    try:
        return not taken()
    except InjectedFailure:
        return True


def completion_twice_is_reported_again_in_the_next_step(bench: Bench) -> None:
    for direction in DIRECTIONS:
        with control_room() as control:
            copies = store_and_load(bench, control, "completion_twice", direction)
            settle(copies, direction)
            copy(copies, 3, direction)
            assert list(ended(copies)) == [3]
            assert control.fired() == [], "it has ended once so far"
            assert list(ended(copies)) == [3]
            proof_of(control, direction)
            assert copies.collect_finished() == []


def an_end_is_not_reported_again_when_its_fault_is_over(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("completion_twice")
        copies.load(3, [0], [4])
        finish(copies, 3)
        control.heal()
        assert copies.collect_finished() == []
        assert control.fired() == []


def load_failure_of_the_middle_block_is_that_of_the_middle(bench: Bench) -> None:
    with control_room() as control:
        connector = a_connector(bench, control)
        control.arm("load_failure", blocks="middle")
        assert load(connector, "cmpl-0") == {BLOCKS[len(BLOCKS) // 2]} == {3}


def load_failed_gives_up_the_whole_load_where_vllm_requires_it(bench: Bench) -> None:
    with control_room() as control:
        connector = a_connector(bench, control)
        connector._given_up = set()
        if "load_failed" in unsupported_kinds():
            assert refusal_of(control, "load_failed").startswith("load_failed answers get_transfer_results")
            return
        control.arm("load_failed", {"nth": [1]})
        assert [given_up(bench, connector, f"cmpl-{number}") for number in range(3)] == [
            set(),
            {"cmpl-1"},
            set(),
        ]
        [line] = [line for line in control.lines() if line["event"] == "fired"]
        assert (line["request"], line["evidence"]) == ("cmpl-1", {"blocks": len(BLOCKS)})


def given_up(bench: Bench, connector: Any, request: str) -> set[str]:
    """One step that loads; the requests whose whole load is reported as failed."""
    connector._connector_metadata = load_metadata(request, BLOCKS)
    connector.start_load_kv(None)
    results = connector.get_transfer_results(set())
    assert results.finished_recving == {request}, "the request waits for ever"
    assert connector.get_block_ids_with_load_errors() == set()
    failed: set[str] = results.failed_recving
    return failed


def refusal_of(control: Control, kind: str) -> str:
    """Arm what must be refused; the reason."""
    control._put([{"id": "f1", "kind": kind, "trigger": {"every": 1}, "params": {}}])

    def refusals() -> list[str]:
        return [line["evidence"]["detail"] for line in control.lines() if line["event"] == "refused"]

    wait_until(lambda: bool(refusals()), "the fault is refused")
    assert not [line for line in control.lines() if line["event"] == "armed"]
    return refusals()[0]


def retry_of_a_lookup_after_a_failed_load_is_noted_once(bench: Bench) -> None:
    with control_room() as control, plain_connector():
        connector: Any = object.__new__(ChaosConnector)
        connector._retrying = set()
        connector._runtime = process_globals.fault_runtime(
            SCHEDULER, {process_globals.CONTROL_KEY: str(control.path)}, bench.name
        )
        reported = SimpleNamespace(
            finished_recving={"a", "b"},
            finished_sending=None,
            failed_recving={"a"},
            kv_connector_worker_meta=None,
        )
        connector.update_connector_output(reported)
        for request in ("b", "a", "a"):
            connector.get_num_new_matched_tokens(SimpleNamespace(request_id=request), 0)
        notes = [(line["request"], line["evidence"]) for line in control.lines() if line["event"] == "note"]
        assert notes == [("a", msgspec.to_builtins(LoadRetried()))]


def plain_connector() -> Any:
    """vLLM's own scheduler side is left out: it would need a whole server."""
    return mock.patch.multiple(
        OffloadingConnector,
        get_num_new_matched_tokens=mock.Mock(return_value=(0, False)),
        update_connector_output=mock.Mock(return_value=None),
    )


CHECKS = (
    manager_raises_from_the_requested_hook_and_from_no_other,
    a_manager_that_raised_is_whole_again_when_healed,
    copy_raises_takes_no_copy_and_moves_nothing,
    completion_twice_is_reported_again_in_the_next_step,
    an_end_is_not_reported_again_when_its_fault_is_over,
    load_failure_of_the_middle_block_is_that_of_the_middle,
    load_failed_gives_up_the_whole_load_where_vllm_requires_it,
    retry_of_a_lookup_after_a_failed_load_is_noted_once,
)
