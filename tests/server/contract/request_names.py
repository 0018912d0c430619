"""Every strike names the request whose blocks it hits, by what vLLM itself tells of a step."""

from __future__ import annotations

from typing import Any

from chaos.inside import process_globals
from chaos.inside.process_globals import request_scope
from tests.server.contract.bench import CHUNKS, Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.copies import finish, prepared
from tests.server.contract.manager import KEYS, fill
from tests.server.contract.shapes.managers import Tier
from tests.server.contract.shapes.transfers import load_metadata
from tests.server.contract.shapes.workers import Copies

REQUEST = "cmpl-a"
AT_ONCE = {"min_ms": 0, "max_ms": 0}
WORKER_KINDS: dict[str, dict[str, int]] = {
    "copy_delay": AT_ONCE,
    "completion_late": AT_ONCE,
    "copy_failed": {},
    "completion_lost": {},
    "zero_block": {},
}
"""With their parameters."""


def begin_load(bench: Bench, copies: Copies) -> None:
    """Start the load that a step's metadata plans for REQUEST, as vLLM's connector does."""
    metadata = load_metadata(REQUEST, [4, 5])
    process_globals.requests_of_jobs.learn(metadata)
    worker: Any = copies._to.worker
    if hasattr(metadata, "reqs_to_load"):
        assert worker.transfer_async(3, metadata.reqs_to_load[REQUEST])
        return
    [(number, job)] = metadata.load_jobs.items()
    if hasattr(job, "transfer_spec"):
        assert worker.transfer_async(number, job.transfer_spec)
    else:
        assert worker.submit_load(number, job.src_spec, job.dst_spec)


def fired_requests(control: Control) -> list[str | None]:
    """The requests that the strikes in the journal name."""
    return [line["request"] for line in control.lines() if line["event"] == "fired"]


def strikes_at_copies_name_the_request(bench: Bench) -> None:
    for kind, params in WORKER_KINDS.items():
        with control_room() as control:
            copies, _, _ = prepared(bench, control)
            control.arm(kind, None, direction="load", **params)
            begin_load(bench, copies)
            copies.collect_finished()
            assert fired_requests(control) == [REQUEST], f"{kind}: {fired_requests(control)}"


def a_copy_that_no_step_planned_names_no_request(bench: Bench) -> None:
    with control_room() as control:
        copies, _, _ = prepared(bench, control)
        control.arm("zero_block")
        copies.load(77, [0], [4])
        finish(copies, 77)
        assert fired_requests(control) == [None]


def strikes_at_stores_name_the_request(bench: Bench) -> None:
    for kind in ("store_refused", "tier_shrunk"):
        with control_room() as control:
            tier = bench.tier(CHUNKS, control.path)
            control.arm(kind)
            assert requests_of_a_store(tier, control, KEYS[:2]) == [whose(tier)], kind


def requests_of_a_store(tier: Tier, control: Control, keys: list[bytes]) -> list[str | None]:
    """The requests that strikes at a store of these blocks name."""
    with request_scope(REQUEST):
        tier.prepare_store(keys)
    return fired_requests(control)


def a_store_reported_as_failed_names_the_request_that_brought_it(bench: Bench) -> None:
    with control_room() as control:
        tier = bench.tier(CHUNKS, control.path)
        control.arm("store_failed")
        with request_scope(REQUEST):
            tier.prepare_store(KEYS[:2])
        expected = whose(tier)
        # It ends when it is nobody's turn.
        tier.complete_store(KEYS[:2], success=True)
        fill(tier, KEYS[2:3])
        assert fired_requests(control)[0] == expected
        assert len(fired_requests(control)) == 2


def whose(tier: Tier) -> str:
    """The request of a call of the manager, passed by vLLM from 0.22 on, before that the current one."""
    return tier.request or REQUEST


CHECKS = (
    strikes_at_copies_name_the_request,
    a_copy_that_no_step_planned_names_no_request,
    strikes_at_stores_name_the_request,
    a_store_reported_as_failed_names_the_request_that_brought_it,
)
