"""While no fault is armed, vLLM calls its own methods; while one is, it calls the wrappers."""

from __future__ import annotations

import time
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector

from chaos.inside import process_globals
from chaos.inside.connector import ChaosConnector
from chaos.inside.fault_kind import SCHEDULER, WORKER
from tests.server.contract.bench import CHUNKS, Bench
from tests.server.contract.control import control_room
from tests.server.contract.shapes.specs import make_spec
from tests.server.contract.shapes.workers import Copies

DELAY_MS = 300


def idle_manager_answers_with_vllms_own_methods(bench: Bench) -> None:
    with control_room() as control:
        manager = make_spec(CHUNKS, 1, control.path, audit=False).get_manager()
        _rest(SCHEDULER)
        assert manager.lookup == manager._inner.lookup
        control.arm("lookup_miss")
        assert manager.lookup != manager._inner.lookup
        control.heal()
        _rest(SCHEDULER)
        assert manager.lookup == manager._inner.lookup


def idle_worker_copies_with_vllms_own_methods(bench: Bench) -> None:
    with control_room() as control:
        copies = Copies(make_spec(CHUNKS, 1, control.path, audit=False))
        _rest(WORKER)
        assert _bypassed() == {True}
        copies.store(1, [1], [1])
        assert [job for job, _ in copies.collect_finished()] == [1]
        control.arm("copy_delay", min_ms=DELAY_MS, max_ms=DELAY_MS)
        assert _bypassed() == {False}


def wrapper_stays_until_a_delayed_copy_has_ended(bench: Bench) -> None:
    with control_room() as control:
        copies = Copies(make_spec(CHUNKS, 1, control.path, audit=False))
        control.arm("copy_delay", min_ms=DELAY_MS, max_ms=DELAY_MS)
        copies.store(1, [1], [1])
        control.heal()
        _rest(WORKER)
        assert False in _bypassed()
        time.sleep(DELAY_MS / 1e3)
        assert [job for job, _ in copies.collect_finished()] == [1]
        _rest(WORKER)
        assert _bypassed() == {True}


def connector_replaces_only_the_methods_that_it_can_give_back(bench: Bench) -> None:
    connector: Any = object.__new__(ChaosConnector)
    own = {
        name
        for kind in ChaosConnector.__mro__
        for name in vars(kind)
        if kind.__module__ == ChaosConnector.__module__
    }
    replaced = {name for name in own if hasattr(OffloadingConnector, name) and not name.startswith("_")}
    other = replaced ^ set(connector._own_methods())
    assert other == set(), other


def _rest(role: str) -> None:
    """A step of the role has ended."""
    process_globals._runtimes[role].rest()


def _bypassed() -> set[bool]:
    """Whether each wrapper of the worker gives its methods back to vLLM."""
    wrappers: list[Any] = [each.wrapper for each in process_globals._runtimes[WORKER]._passthroughs]
    return {wrapper.get_finished == wrapper._inner.get_finished for wrapper in wrappers}


CHECKS = (
    idle_manager_answers_with_vllms_own_methods,
    idle_worker_copies_with_vllms_own_methods,
    wrapper_stays_until_a_delayed_copy_has_ended,
    connector_replaces_only_the_methods_that_it_can_give_back,
)
