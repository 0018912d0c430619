"""The connector is vLLM's own with one thing added: it reports loads as failed on request."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector

from chaos.inside import process_globals
from chaos.inside.connector import ChaosConnector
from chaos.inside.fault_kind import WORKER
from tests.server.contract.bench import Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.fit import misfits
from tests.server.contract.shapes.transfers import load_metadata, requests_of

BLOCKS = [8, 3, 5]


def connector_is_vllms_own_with_methods_that_fit(bench: Bench) -> None:
    assert issubclass(ChaosConnector, OffloadingConnector)
    assert list(misfits(ChaosConnector, OffloadingConnector)) == []


def a_connector(bench: Bench, control: Control) -> Any:
    """A worker's connector around a worker that has finished its jobs.

    vLLM makes one from the configuration of a whole server.
    """
    given: set[str] = set()

    def start(metadata: Any) -> None:
        given.update(requests_of(metadata))

    def finished(sent: set[str]) -> tuple[set[str], set[str]]:
        done = set(given)
        given.clear()
        return sent, done

    connector: Any = object.__new__(ChaosConnector)
    # Stores are queued in wait_for_save, or by the connector before it asks what has finished (0.22 to 0.30).
    connector.connector_worker = SimpleNamespace(
        start_kv_transfers=start, prepare_store_kv=lambda metadata: None, get_finished=finished
    )
    connector._loading = {}
    connector._failed = set()
    connector._runtime = process_globals.fault_runtime(
        WORKER, {process_globals.CONTROL_KEY: str(control.path)}, bench.name
    )
    return connector


def load(connector: Any, request: str) -> set[int]:
    """One step that loads; the blocks reported as failed."""
    connector._connector_metadata = load_metadata(request, BLOCKS)
    connector.start_load_kv(None)
    assert connector.get_finished({"sent"}) == ({"sent"}, {request}), "vLLM's own answer was changed"
    failed: set[int] = connector.get_block_ids_with_load_errors()
    return failed


def load_failure_reports_the_chosen_blocks_once(bench: Bench) -> None:
    for choice, expected in (("first", {8}), ("last", {5}), ("all", {8, 3, 5})):
        with control_room() as control:
            connector = a_connector(bench, control)
            control.arm("load_failure", {"nth": [1]}, blocks=choice)
            assert load(connector, "cmpl-0") == set()
            assert load(connector, "cmpl-1") == expected
            assert connector.get_block_ids_with_load_errors() == set(), "reported twice"
            assert load(connector, "cmpl-2") == set()
            [line] = [line for line in control.lines() if line["event"] == "fired"]
            assert (line["request"], line["n"], set(line["evidence"]["blocks"])) == ("cmpl-1", 1, expected)


def load_failure_of_one_block_draws_it(bench: Bench) -> None:
    with control_room() as control:
        connector = a_connector(bench, control)
        control.arm("load_failure")
        reported = [load(connector, f"cmpl-{number}") for number in range(20)]
        assert all(len(failed) == 1 and failed <= set(BLOCKS) for failed in reported)
        assert len(set.union(*reported)) > 1, "always the same block"


def no_load_fails_when_nothing_is_armed_or_all_is_healed(bench: Bench) -> None:
    with control_room() as control:
        connector = a_connector(bench, control)
        assert load(connector, "cmpl-0") == set()
        control.arm("load_failure")
        assert load(connector, "cmpl-1") != set()
        control.heal()
        assert load(connector, "cmpl-2") == set()
        assert len(control.fired()) == 1


CHECKS = (
    connector_is_vllms_own_with_methods_that_fit,
    load_failure_reports_the_chosen_blocks_once,
    load_failure_of_one_block_draws_it,
    no_load_fails_when_nothing_is_armed_or_all_is_healed,
)
