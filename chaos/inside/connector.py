"""What a server's `kv_connector_module_path` names: vLLM's OffloadingConnector, told of failed loads.

The faults of the copies and of the manager sit in the spec; here is what only the connector can do:
report blocks as failed to load, and know which request a copy or a call of the manager is for.
"""

from __future__ import annotations

from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole

from chaos.hostcopy.generation import detect
from chaos.inside import runtime
from chaos.inside.engine import Strike
from chaos.inside.failed_loads import TellsFailedLoads
from chaos.inside.kind import SCHEDULER, WORKER
from chaos.inside.metadata import loads
from chaos.inside.states import ATTRIBUTE
from chaos.inside.turns import managers_are_told, noting_turns, turn_of
from history.protocol.evidence import LoadBlocksFailed, LoadFailed
from history.protocol.notes import LoadRetried, RequestAbandoned


class ChaosConnector(TellsFailedLoads):
    """OffloadingConnector with the load failures. Everything else goes to vLLM unchanged."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any = None) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._loading: dict[str, list[int]] = {}
        self._failed: set[int] = set()
        self._given_up: set[str] = set()
        self._asking_again: set[str] = set()
        extra = vllm_config.kv_transfer_config.kv_connector_extra_config
        half = WORKER if role == KVConnectorRole.WORKER else SCHEDULER
        self._engine = runtime.engine(half, extra, detect().name)
        if self._engine.provenance is not None:
            self._engine.provenance.block_tokens = vllm_config.cache_config.block_size
            # Speculative decoding may compute the last block again, although the cache has it.
            self._engine.provenance.all_matches = vllm_config.speculative_config is None

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        runtime.request_states.see(request)
        if request.request_id in self._asking_again:
            self._asking_again.remove(request.request_id)
            self._engine.note(LoadRetried(), request.request_id)
        if self._engine.provenance is not None:
            self._engine.provenance.matched(request.request_id, num_computed_tokens)
        with turn_of(request.request_id):
            return super().get_num_new_matched_tokens(request, num_computed_tokens)

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        runtime.request_states.see(request)
        with turn_of(request.request_id):
            super().update_state_after_alloc(request, blocks, num_external_tokens)
        if self._engine.provenance is not None:
            self._engine.provenance.given(request, blocks, num_external_tokens)

    def build_connector_meta(self, scheduler_output: Any) -> Any:
        with turn_of(None):
            told = scheduler_output if managers_are_told() else noting_turns(scheduler_output)
            metadata = super().build_connector_meta(told)
        for left in runtime.request_states.given_up(scheduler_output.finished_req_ids):
            note = RequestAbandoned(computed=left.computed, answered=left.answered)
            self._engine.note(note, left.request, (left.state,))
        runtime.request_states.step(
            metadata, scheduler_output.finished_req_ids, scheduler_output.preempted_req_ids or ()
        )
        self._asking_again.difference_update(scheduler_output.finished_req_ids)
        if self._engine.provenance is not None:
            self._engine.provenance.ended(scheduler_output.finished_req_ids)
        if self._engine.worker_minds_states:
            setattr(metadata, ATTRIBUTE, runtime.request_states.of_transfers())
        return metadata

    def update_connector_output(self, connector_output: Any) -> None:
        super().update_connector_output(connector_output)
        runtime.request_states.report(connector_output)
        self._asking_again |= getattr(connector_output, "failed_recving", None) or set()

    def handle_preemptions(self, told: Any) -> None:
        """Told are the requests to 0.18, the step's metadata since: some of its copies begin here."""
        self._learn(told)
        super().handle_preemptions(told)

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        self._learn(self._connector_metadata)
        for request, blocks in loads(self._connector_metadata):
            self._loading[request] = blocks
        super().start_load_kv(forward_context, **kwargs)

    def _learn(self, told: Any) -> None:
        runtime.requests_of_jobs.learn(told)
        runtime.told_states.learn(told)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str], set[str]]:
        sent, received = super().get_finished(finished_req_ids)
        # Sorted, since the order of a set changes from process to process.
        for request in sorted(received or ()):
            self._end_load(request)
        return sent, received

    def _end_load(self, request: str) -> None:
        """The blocks of a request are loaded; report them as failed where that is struck."""
        blocks = self._loading.pop(request, [])
        strike = self._engine.strike("load_failure", request=request) if blocks else None
        if strike is not None:
            failed = _chosen(strike, blocks)
            self._failed.update(failed)
            if strike.params["content"] == "zero":
                _zero(failed)
            strike.fired(LoadBlocksFailed(blocks=failed, of=len(blocks)))
        strike = self._engine.strike("load_failed", request=request) if blocks else None
        if strike is not None:
            self._given_up.add(request)
            strike.fired(LoadFailed(blocks=len(blocks)))

    def get_block_ids_with_load_errors(self) -> set[int]:
        failed, self._failed = self._failed, set()
        return failed | super().get_block_ids_with_load_errors()


def _zero(blocks: list[int]) -> None:
    """What lies in blocks that are reported as failed is for nobody to rely on."""
    for plane in runtime.device:
        for block in blocks:
            plane.bytes_of(block).zero_()


def _chosen(strike: Strike, blocks: list[int]) -> list[int]:
    match strike.params["blocks"]:
        case "first":
            return blocks[:1]
        case "middle":
            return [blocks[len(blocks) // 2]]
        case "last":
            return blocks[-1:]
        case "all":
            return list(blocks)
        case _:
            return [blocks[strike.draw("block") % len(blocks)]]
