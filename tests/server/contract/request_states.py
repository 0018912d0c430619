"""What a request is doing is read off vLLM's own request, and reaches the worker with the step."""

from __future__ import annotations

import inspect
import pickle
from types import SimpleNamespace
from typing import Any
from unittest import mock

from vllm import SamplingParams
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector
from vllm.v1.request import Request, RequestStatus

from chaos.inside import process_globals
from chaos.inside.connector import ChaosConnector
from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.request_states import RequestStates
from tests.server.contract.bench import Bench
from tests.server.contract.control import Control, control_room
from tests.server.contract.shapes.transfers import load_metadata
from tests.server.contract.waiting import wait_until

PROMPT = 10


def a_request(name: str) -> Any:
    """A request as vLLM makes it; all other arguments of the release are None."""
    values = {
        "request_id": name,
        "prompt_token_ids": list(range(PROMPT)),
        "sampling_params": SamplingParams(max_tokens=4),
    }
    needed = [
        parameter.name
        for parameter in inspect.signature(Request).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    return Request(**{**dict.fromkeys(needed), **values})


def states_are_read_from_vllms_own_requests(bench: Bench) -> None:
    states = RequestStates()
    request = a_request("a")
    states.track(request)
    assert states.of("a") == ("queued",)
    for status, computed, state in (
        (RequestStatus.WAITING_FOR_REMOTE_KVS, 8, ("loading",)),
        (RequestStatus.RUNNING, PROMPT - 1, ("prefill",)),
        (RequestStatus.RUNNING, PROMPT, ("decode",)),
        (RequestStatus.PREEMPTED, 0, ("queued",)),
        (RequestStatus.FINISHED_LENGTH_CAPPED, PROMPT + 3, ()),
    ):
        request.status, request.num_computed_tokens = status, computed
        assert states.of("a") == state, f"{status}: {states.of('a')}"


def a_scheduler(bench: Bench, control: Control) -> Any:
    """A connector of the scheduler's role without vLLM's own scheduler."""
    connector: Any = object.__new__(ChaosConnector)
    connector._retrying = set()
    connector._runtime = process_globals.fault_runtime(
        SCHEDULER, {process_globals.CONTROL_KEY: str(control.path)}, bench.name
    )
    process_globals.fault_runtime(WORKER, {process_globals.CONTROL_KEY: str(control.path)}, bench.name)
    return connector


def reported_states(bench: Bench, connector: Any) -> tuple[str, ...]:
    """A step in which request a begins to load; what the worker's process then knows of it."""
    request = a_request("a")
    request.status = RequestStatus.WAITING_FOR_REMOTE_KVS
    process_globals.request_states.track(request)
    step = SimpleNamespace(
        num_scheduled_tokens={}, finished_req_ids=set(), preempted_req_ids=None, kv_connector_metadata=None
    )
    planned = load_metadata("a", [4, 2])
    with mock.patch.object(OffloadingConnector, "build_connector_meta", return_value=planned):
        metadata = connector.build_connector_meta(step)
    process_globals.reported_states.learn(pickle.loads(pickle.dumps(metadata)))
    return process_globals.reported_states.of("a")


def states_reach_the_worker_for_armed_faults_with_states(bench: Bench) -> None:
    with control_room() as control:
        connector = a_scheduler(bench, control)
        assert reported_states(bench, connector) == ()
        control.arm("zero_block", {"every": 1, "states": ["loading"]})
        wait_until(lambda: connector._runtime.worker_needs_states, "the scheduler minds states")
        assert reported_states(bench, connector) == ("loading",)
        control.heal()
        wait_until(lambda: not connector._runtime.worker_needs_states, "the scheduler minds states no more")
        assert reported_states(bench, connector) == ()


CHECKS = (
    states_are_read_from_vllms_own_requests,
    states_reach_the_worker_for_armed_faults_with_states,
)
