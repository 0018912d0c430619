"""What a server's `kv_connector_module_path` names for synchronous loads: done within their step.

vLLM's own connector answers that it loads between steps. This one answers, where it can, that it loads
within the step, so that vLLM lets the request run at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1 import KVConnectorRole

from chaos.inside import process_globals
from chaos.inside.connector import ChaosConnector

ATTRIBUTE = "kvchaos_sync"
"""Attribute of the step's metadata: the requests whose loads are done within the step."""


@dataclass(frozen=True)
class _Block:
    block_id: int
    block_hash: Any
    is_null: bool = False


@dataclass(frozen=True)
class _Blocks:
    """A request's blocks as vLLM's connector wants to see them: those to be loaded have no hash."""

    blocks: tuple[list[_Block], ...]

    def get_block_ids(self) -> tuple[list[int], ...]:
        return tuple([block.block_id for block in group] for group in self.blocks)


class SyncChaosConnector(ChaosConnector):
    """ChaosConnector whose loads are done within their step, where nothing else of the request is stored."""

    def __init__(self, vllm_config: Any, role: KVConnectorRole, kv_cache_config: Any = None) -> None:
        super().__init__(vllm_config, role, kv_cache_config)
        self._block_size: int = vllm_config.cache_config.block_size
        self._computed: dict[str, int] = {}
        """Tokens that were there before the load, of requests that were answered so."""
        self._begun: set[str] = set()
        """Requests whose loads begin with the next step."""
        self._ended: set[str] = set()
        """Requests whose loads began with the last step, and are yet to be reported to the manager."""
        self._in_step: set[str] = set()
        """Requests whose completed loads must not be reported to the scheduler."""

    def _rest(self) -> None:
        """The wrappers are always needed: loads within the step are theirs."""

    def get_num_new_matched_tokens(self, request: Any, num_computed_tokens: int) -> tuple[int | None, bool]:
        """vLLM's lookup, with loads changed to loads within the step where that is possible."""
        found, between_steps = super().get_num_new_matched_tokens(request, num_computed_tokens)
        self._computed.pop(request.request_id, None)
        if not found or not between_steps:
            return found, between_steps
        # vLLM allows no store beside a load; a whole block that is computed in this step would be stored.
        rest = request.num_tokens - num_computed_tokens - found
        if not 0 < rest < self._block_size:
            return found, between_steps
        self._computed[request.request_id] = num_computed_tokens
        return found, False

    def update_state_after_alloc(self, request: Any, blocks: Any, num_external_tokens: int) -> None:
        """vLLM's call after a request received blocks; remembers loads within the step."""
        computed = self._computed.pop(request.request_id, None)
        if num_external_tokens and computed is not None:
            self._begun.add(request.request_id)
            blocks = self._without_hashes(blocks, computed, computed + num_external_tokens)
        super().update_state_after_alloc(request, blocks, num_external_tokens)

    def _without_hashes(self, blocks: Any, computed: int, loaded: int) -> _Blocks:
        """The blocks of a load within the step, without the hashes of what the step computes itself.

        vLLM has given hashes to all blocks of the request by then.
        """
        (group,) = blocks.blocks
        first, end = computed // self._block_size, loaded // self._block_size
        here = [_Block(block.block_id, block.block_hash) for block in group[:first]]
        return _Blocks(([*here, *(_Block(block.block_id, None) for block in group[first:end])],))

    def build_connector_meta(self, scheduler_output: Any) -> Any:
        """vLLM's metadata of a step, with the requests whose loads end within it."""
        metadata = super().build_connector_meta(scheduler_output)
        setattr(metadata, ATTRIBUTE, frozenset(self._begun))
        if hasattr(metadata, "reqs_to_load"):  # to 0.20: later the worker names the jobs that have ended
            self._ended |= self._begun
        self._begun = set()
        return metadata

    def update_connector_output(self, connector_output: Any) -> None:
        """vLLM's call with the workers' results; reports loads within the step as received."""
        received = set(connector_output.finished_recving or ()) | self._ended
        self._ended = set()
        super().update_connector_output(replace(connector_output, finished_recving=received))

    def start_load_kv(self, forward_context: Any, **kwargs: Any) -> None:
        """vLLM's start of the loads of a step; those within the step end before it returns."""
        requests: frozenset[str] = getattr(self._connector_metadata, ATTRIBUTE, frozenset())
        process_globals.within_step |= requests
        super().start_load_kv(forward_context, **kwargs)
        process_globals.within_step -= requests
        self._in_step |= requests
        for request in sorted(requests):
            self._end_load(request)

    def get_finished(self, finished_req_ids: set[str]) -> tuple[set[str], set[str]]:
        """vLLM's finished requests (sent, received) without those whose load ended within the step."""
        sent, received = super().get_finished(finished_req_ids)
        in_step = self._in_step & set(received or ())
        self._in_step -= in_step
        return sent, set(received or ()) - in_step
