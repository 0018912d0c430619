"""What a server's `kv_connector_module_path` names: vLLM's OffloadingConnector with load failures.

The spec injects the faults of the copies and of the manager. Only the connector can report blocks and, from
0.30 on, whole loads as failed. Only it knows which request a copy or a call of the manager is for.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnector

from chaos.hostcopy.generation import detect
from chaos.inside import process_globals
from chaos.inside.fault_kind import SCHEDULER, WORKER
from chaos.inside.injection_points import LOAD_RESULT, FinishedLoad
from chaos.inside.passthrough import Methods, Passthrough
from chaos.inside.process_globals import managers_receive_request_id, request_scope, tracking_current_request
from chaos.inside.request_states import ATTRIBUTE, loads
from history.protocol.evidence import LoadRetried, RequestAbandoned


class _ReportingConnector(OffloadingConnector):
    _given_up: set[str]
    """Requests whose loads are to be reported as failed."""

    def get_transfer_results(self, finished_req_ids: set[str]) -> Any:
        results = super().get_transfer_results(finished_req_ids)
        aborted, self._given_up = self._given_up, set()
        return replace(results, failed_recving=results.failed_recving | aborted)


HAS_TRANSFER_RESULTS = hasattr(OffloadingConnector, "get_transfer_results")
LoadErrorReporter: Any = _ReportingConnector if HAS_TRANSFER_RESULTS else OffloadingConnector
"""vLLM's OffloadingConnector, with this report where the release supports it."""
INTERCEPTED = (
    "get_num_new_matched_tokens",
    "update_state_after_alloc",
    "build_connector_meta",
    "update_connector_output",
    "get_transfer_results",
    "handle_preemptions",
    "start_load_kv",
    "get_finished",
    "get_block_ids_with_load_errors",
)
"""The methods of OffloadingConnector that ChaosConnector replaces."""


class ChaosConnector(LoadErrorReporter):
    """OffloadingConnector with the load failures. Everything else goes to vLLM unchanged."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any = None) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._loading: dict[str, list[int]] = {}
        self._failed: set[int] = set()
        self._given_up: set[str] = set()
        self._retrying: set[str] = set()
        extra = vllm_config.kv_transfer_config.kv_connector_extra_config
        role_name = WORKER if role == KVConnectorRole.WORKER else SCHEDULER
        self._role = role_name
        self._runtime = process_globals.fault_runtime(role_name, extra, detect().name)
        self._runtime.add_wrapper(Passthrough(self, self._own_methods(), self._settled, self._forget))
        if self._runtime.provenance is not None:
            self._runtime.provenance.block_tokens = vllm_config.cache_config.block_size
            # Speculative decoding may compute the last block again, although the cache has it.
            self._runtime.provenance.all_matches = vllm_config.speculative_config is None

    def _own_methods(self) -> Methods:
        """OffloadingConnector's own methods, bound to this connector."""
        return {
            name: getattr(OffloadingConnector, name).__get__(self)
            for name in INTERCEPTED
            if hasattr(OffloadingConnector, name)
        }

    def _settled(self) -> bool:
        """Whether every failed load has been reported."""
        return not self._failed and not self._given_up

    def _forget(self) -> None:
        """Forget the requests and loads of this role."""
        self._loading.clear()
        self._retrying.clear()
        if self._role == SCHEDULER:
            process_globals.request_states.forget()
        else:
            process_globals.requests_of_jobs.forget()
            process_globals.reported_states.forget()

    def _rest(self) -> None:
        """A step has ended: without an armed fault the server needs no wrapper."""
        self._runtime.rest()

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """vLLM's lookup for a new request; notes a request that is looked up again after a failed load."""
        process_globals.request_states.track(request)
        if request.request_id in self._retrying:
            self._retrying.remove(request.request_id)
            self._runtime.note(LoadRetried(), request.request_id)
        if self._runtime.provenance is not None:
            self._runtime.provenance.matched(request.request_id, num_computed_tokens)
        with request_scope(request.request_id):
            return super().get_num_new_matched_tokens(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """vLLM's call after a request received blocks; the provenance log records them."""
        process_globals.request_states.track(request)
        with request_scope(request.request_id):
            super().update_state_after_alloc(request, blocks, num_external_tokens)
        if self._runtime.provenance is not None:
            self._runtime.provenance.given(request, blocks, num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> Any:
        """vLLM's metadata of a step, with the states of requests tracked meanwhile."""
        with request_scope(None):
            step = (
                scheduler_output
                if managers_receive_request_id()
                else tracking_current_request(scheduler_output)
            )
            metadata = super().build_connector_meta(step)
        for aborted in process_globals.request_states.aborted(scheduler_output.finished_req_ids):
            note = RequestAbandoned(computed=aborted.computed, answered=aborted.answered)
            self._runtime.note(note, aborted.request, (aborted.state,))
        process_globals.request_states.step(
            metadata, scheduler_output.finished_req_ids, scheduler_output.preempted_req_ids or ()
        )
        self._retrying.difference_update(scheduler_output.finished_req_ids)
        if self._runtime.provenance is not None:
            self._runtime.provenance.ended(scheduler_output.finished_req_ids)
        if self._runtime.worker_needs_states:
            setattr(metadata, ATTRIBUTE, process_globals.request_states.of_transfers())
        self._rest()
        return metadata

    def update_connector_output(self, connector_output: Any) -> None:
        """vLLM's call with the workers' results; remembers requests whose load failed."""
        super().update_connector_output(connector_output)
        process_globals.request_states.report(connector_output)
        self._retrying |= getattr(connector_output, "failed_recving", None) or set()

    def handle_preemptions(self, step: Any) -> None:
        """`step`: to 0.18 the preempted requests, later the step's metadata; some copies begin here."""
        self._learn_step(step)
        super().handle_preemptions(step)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """vLLM's start of the loads of a step; remembers the blocks of each request."""
        self._learn_step(self._connector_metadata)
        for request, blocks in loads(self._connector_metadata):
            self._loading[request] = blocks
        super().start_load_kv(forward_context, **kwargs)

    def _learn_step(self, step: Any) -> None:
        process_globals.requests_of_jobs.learn(step)
        process_globals.reported_states.learn(step)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str], set[str]]:
        """vLLM's finished requests (sent, received); applies `load_failed` to the received ones."""
        sent, received = super().get_finished(finished_req_ids)
        # Sorted, since the order of a set changes from process to process.
        for request in sorted(received or ()):
            self._end_load(request)
        self._rest()
        return sent, received

    def _end_load(self, request: str) -> None:
        """The blocks of a request are loaded; report them as failed where a fault fires."""
        blocks = self._loading.pop(request, [])
        if not blocks:
            return
        load = FinishedLoad(blocks)
        self._runtime.inject(LOAD_RESULT, load, request=request)
        _zero(load.zeroed)
        self._failed.update(load.failed)
        if load.given_up:
            self._given_up.add(request)

    def get_block_ids_with_load_errors(self) -> set[int]:
        """Ids of the blocks whose load is reported as failed, vLLM's own and those of faults."""
        failed, self._failed = self._failed, set()
        return failed | super().get_block_ids_with_load_errors()


def _zero(blocks: list[int]) -> None:
    """Overwrite blocks that are reported as failed: nothing may read their content."""
    for plane in process_globals.device:
        for block in blocks:
            plane.bytes_of(block).zero_()
