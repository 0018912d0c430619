"""Loads within a step: vLLM takes the request for ready, and so its blocks must be there, or be reported."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.v1.outputs import KVConnectorOutput

from chaos.inside import process_globals
from chaos.inside.fault_kind import SCHEDULER
from chaos.inside.sync_connector import ATTRIBUTE, SyncChaosConnector
from tests.server.contract.bench import Bench
from tests.server.contract.connector import BLOCKS, a_connector
from tests.server.contract.control import Control, control_room
from tests.server.contract.copies import ended, moved, prepared, same, snapshot
from tests.server.contract.fit import misfits
from tests.server.contract.request_names import REQUEST, begin_load
from tests.server.contract.shapes.transfers import load_metadata

BLOCK_SIZE = 4


def connector_of_loads_within_a_step_has_methods_that_fit(bench: Bench) -> None:
    assert issubclass(SyncChaosConnector, OffloadingConnector)
    assert list(misfits(SyncChaosConnector, OffloadingConnector)) == []


def a_scheduler(bench: Bench, control: Control) -> Any:
    """A connector of the scheduler's role for loads within a step."""
    connector: Any = object.__new__(SyncChaosConnector)
    connector._retrying = set()
    connector._block_size = BLOCK_SIZE
    connector._computed = {}
    connector._begun = set()
    connector._ended = set()
    connector._runtime = process_globals.fault_runtime(
        SCHEDULER, {process_globals.CONTROL_KEY: str(control.path)}, bench.name
    )
    return connector


def answers(connector: Any, tokens: int, computed: int, found: int | None, between: bool) -> Any:
    """What is answered for a request of so many tokens, when vLLM's own connector answers `found`."""
    request = SimpleNamespace(request_id="a", num_tokens=tokens)
    with mock.patch.object(OffloadingConnector, "get_num_new_matched_tokens", return_value=(found, between)):
        return connector.get_num_new_matched_tokens(request, computed)


def only_a_load_beside_which_nothing_is_stored_is_within_the_step(bench: Bench) -> None:
    with control_room() as control:
        connector = a_scheduler(bench, control)
        for tokens, expected in ((17, False), (19, False), (16, True), (20, True), (40, True)):
            assert answers(connector, tokens, 4, 12, True) == (12, expected), tokens
        assert answers(connector, 17, 4, None, False) == (None, False)
        assert answers(connector, 17, 4, 0, False) == (0, False)


@dataclass(frozen=True)
class Block:
    """Of vLLM's pool: within a step all blocks have hashes at once."""

    block_id: int
    block_hash: str | None = "hash"
    is_null: bool = False


def vllm_connector_receives_the_blocks_to_load(bench: Bench) -> None:
    blocks = SimpleNamespace(blocks=([Block(9), Block(7), Block(5), Block(3), Block(1, None)],))
    with (
        control_room() as control,
        mock.patch.object(OffloadingConnector, "update_state_after_alloc") as vllms,
    ):
        connector = a_scheduler(bench, control)
        answers(connector, 17, 4, 12, True)
        connector.update_state_after_alloc(SimpleNamespace(request_id="a"), blocks, 12)
        passed_on = vllms.call_args.args[-2]
        assert passed_on.get_block_ids() == ([9, 7, 5, 3],)
        assert [block.block_hash is None for block in passed_on.blocks[0]] == [False, True, True, True]
        answers(connector, 20, 4, 12, True)
        connector.update_state_after_alloc(SimpleNamespace(request_id="a"), blocks, 12)
        assert vllms.call_args.args[-2] is blocks, "a load between steps was changed"


def the_manager_learns_the_end_of_a_load_within_its_step(bench: Bench) -> None:
    planned = load_metadata("a", [4, 2])
    step = SimpleNamespace(num_scheduled_tokens={}, finished_req_ids=set(), preempted_req_ids=None)
    with (
        control_room() as control,
        mock.patch.object(OffloadingConnector, "build_connector_meta", return_value=planned),
        mock.patch.object(OffloadingConnector, "update_connector_output") as vllms,
    ):
        connector = a_scheduler(bench, control)
        connector._begun = {"a"}
        metadata = connector.build_connector_meta(step)
        assert getattr(metadata, ATTRIBUTE) == {"a"}
        reported = KVConnectorOutput(finished_recving={"b"})
        connector.update_connector_output(reported)
        # From 0.21 on the jobs that the worker names as completed say it.
        by_request = hasattr(planned, "reqs_to_load")
        assert vllms.call_args.args[-1].finished_recving == ({"a", "b"} if by_request else {"b"})
        assert reported.finished_recving == {"b"}, "vLLM's scheduler would stumble over a request that runs"
        connector.update_connector_output(KVConnectorOutput())
        assert vllms.call_args.args[-1].finished_recving == set(), "reported twice"


def a_worker(bench: Bench, control: Control) -> Any:
    """A connector of the worker's role for loads within a step."""
    connector = a_connector(bench, control)
    connector.__class__ = SyncChaosConnector
    connector._in_step = set()
    return connector


def a_load_within_its_step_fails_in_it_and_its_end_is_not_reported(bench: Bench) -> None:
    with control_room() as control:
        connector = a_worker(bench, control)
        control.arm("load_failure", {"nth": [1]}, blocks="last")
        for request, expected in (("a", set()), ("b", {BLOCKS[-1]}), ("c", set())):
            metadata = load_metadata(request, BLOCKS)
            setattr(metadata, ATTRIBUTE, frozenset({request}))
            connector._connector_metadata = metadata
            connector.start_load_kv(None)
            assert connector._failed == expected, "it must be known before the step goes on"
            assert connector.get_finished(set()) == (set(), set())
            assert connector.get_block_ids_with_load_errors() == expected
        between = load_metadata("d", BLOCKS)
        connector._connector_metadata = between
        connector.start_load_kv(None)
        assert connector.get_finished(set()) == (set(), {"d"}), "a load between steps was swallowed"


def a_delayed_load_within_its_step_is_done_before_the_step_goes_on(bench: Bench) -> None:
    with control_room() as control:
        copies, content, before = prepared(bench, control)
        control.arm("copy_delay", direction="load", min_ms=100, max_ms=100)
        began = time.monotonic()
        process_globals.within_step.add(REQUEST)
        try:
            begin_load(bench, copies)
        finally:
            process_globals.within_step.clear()
        assert time.monotonic() - began >= 0.1
        assert same(snapshot(copies), moved(before, content, [0, 1], [4, 5]))
        assert len(ended(copies)) == 1


def failed_blocks_are_zeroed_if_the_fault_requires_it(bench: Bench) -> None:
    for content, wiped in (("kept", []), ("zero", [BLOCKS[0]])):
        with control_room() as control:
            copies, _, before = prepared(bench, control)
            connector = a_connector(bench, control)
            control.arm("load_failure", blocks="first", content=content)
            connector._connector_metadata = load_metadata("a", BLOCKS)
            connector.start_load_kv(None)
            connector.get_finished(set())
            expected = [plane.clone() for plane in before]
            for plane in expected:
                plane[wiped] = 0
            assert same(snapshot(copies), expected)


CHECKS = (
    connector_of_loads_within_a_step_has_methods_that_fit,
    only_a_load_beside_which_nothing_is_stored_is_within_the_step,
    vllm_connector_receives_the_blocks_to_load,
    the_manager_learns_the_end_of_a_load_within_its_step,
    a_load_within_its_step_fails_in_it_and_its_end_is_not_reported,
    a_delayed_load_within_its_step_is_done_before_the_step_goes_on,
    failed_blocks_are_zeroed_if_the_fault_requires_it,
)
