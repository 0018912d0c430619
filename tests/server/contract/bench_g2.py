"""Generation G2: block hashes, a handler for each direction, planes of (2, blocks, ...) tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnectorMetadata
from vllm.v1.kv_offload.abstract import OffloadingManager
from vllm.v1.kv_offload.backends.cpu import CPUBackend
from vllm.v1.kv_offload.lru_manager import LRUOffloadingManager
from vllm.v1.kv_offload.mediums import CPULoadStoreSpec, GPULoadStoreSpec
from vllm.v1.kv_offload.worker.worker import OffloadingHandler, OffloadingWorker

from chaos.hostcopy.handlers import CopyHandler, HostCopySpec
from chaos.inside.engine import FaultEngine
from chaos.inside.managers.hashes import ChaosManager
from chaos.inside.runtime import CONTROL_KEY
from chaos.inside.spec import ChaosSpec
from chaos.inside.workers.handlers import ChaosHandler
from tests.server.contract.bench import BLOCKS, CHUNKS, Finished, Stored, note_calls

BLOCK_SIZE = 4
HEADS, HEAD_SIZE = 2, 8
LAYERS = ("layers.0", "layers.1")
PAGE_BYTES = 2 * HEADS * BLOCK_SIZE * HEAD_SIZE * 4


class TierG2:
    """Hands generators over, as vLLM's connector does: they can be read once only."""

    def __init__(self, manager: Any) -> None:
        self.manager = manager

    def lookup(self, keys: Sequence[bytes]) -> int | None:
        answer: int | None = self.manager.lookup(key for key in keys)
        return answer

    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None:
        output = self.manager.prepare_store(key for key in keys)
        if output is None:
            return None
        chunks = output.store_spec.block_ids.tolist()
        return output.block_hashes_to_store, chunks, output.block_hashes_evicted

    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None:
        self.manager.complete_store((key for key in keys), success)

    def prepare_load(self, keys: Sequence[bytes]) -> list[int]:
        chunks: list[int] = self.manager.prepare_load(key for key in keys).block_ids.tolist()
        return chunks

    def complete_load(self, keys: Sequence[bytes]) -> None:
        self.manager.complete_load(key for key in keys)

    def touch(self, keys: Sequence[bytes]) -> None:
        self.manager.touch(key for key in keys)

    def end_request(self) -> object:
        return None

    def events(self) -> list[tuple[list[bytes], bool]]:
        return [(event.block_hashes, event.removed) for event in self.manager.take_events()]

    def references(self) -> dict[bytes, int]:
        return {key: block.ref_cnt for key, block in self.manager.blocks.items()}


class CopiesG2:
    def __init__(self, spec: HostCopySpec) -> None:
        shape = (2, BLOCKS, HEADS, BLOCK_SIZE, HEAD_SIZE)
        self._caches = {layer: torch.zeros(shape, dtype=torch.float32) for layer in LAYERS}
        self._worker = OffloadingWorker()
        for source, target, handler in spec.get_handlers(self._caches, {}):
            self._worker.register_handler(source, target, handler)

    def planes(self) -> list[torch.Tensor]:
        halves = [cache[half] for cache in self._caches.values() for half in range(2)]
        return [half.view(torch.uint8).view(BLOCKS, -1) for half in halves]

    def paddings(self) -> list[torch.Tensor]:
        return []

    def store(self, job: int, blocks: Sequence[int], chunks: Sequence[int]) -> bool:
        pair = (GPULoadStoreSpec(list(blocks)), CPULoadStoreSpec(list(chunks)))
        return bool(self._worker.transfer_async(job, pair))

    def load(self, job: int, chunks: Sequence[int], blocks: Sequence[int], first: int = 0) -> bool:
        # Here `first` is not told: it follows from the numbers of blocks, which fill the last chunk.
        pair = (CPULoadStoreSpec(list(chunks)), GPULoadStoreSpec(list(blocks)))
        return bool(self._worker.transfer_async(job, pair))

    def told(self) -> list[tuple[int, Finished]]:
        return [
            (result.job_id, Finished(result.success, result.transfer_size, result.transfer_time))
            for result in self._worker.get_finished()
        ]

    def wait(self, jobs: set[int]) -> None:
        self._worker.wait(jobs)


class BenchG2:
    name = "G2"
    manager_base = OffloadingManager
    chaos_manager = ChaosManager
    worker_pairs: Sequence[tuple[type[Any], type[Any]]] = (
        (ChaosHandler, OffloadingHandler),
        (CopyHandler, OffloadingHandler),
    )

    def tier(self, chunks: int, control: Path | None) -> TierG2:
        return TierG2(_spec(chunks, 1, control).get_manager())

    def counting_tier(self, engine: FaultEngine, calls: list[str]) -> TierG2:
        inner = note_calls(calls, LRUOffloadingManager)(CPUBackend(block_size=BLOCK_SIZE, num_blocks=CHUNKS))
        return TierG2(ChaosManager(inner, engine))

    def copies(self, blocks_per_chunk: int, control: Path | None) -> CopiesG2:
        return CopiesG2(_spec(CHUNKS, blocks_per_chunk, control))

    def load_metadata(self, request: str, blocks: Sequence[int]) -> Any:
        chunks = CPULoadStoreSpec(list(range(len(blocks))))
        pair = (chunks, GPULoadStoreSpec(list(blocks)))
        return OffloadingConnectorMetadata(reqs_to_load={request: pair}, reqs_to_store={})


def _spec(chunks: int, blocks_per_chunk: int, control: Path | None) -> HostCopySpec:
    """A spec as vLLM makes it, of a configuration with only what a spec reads."""
    extra: dict[str, object] = {
        "cpu_bytes_to_use": chunks * blocks_per_chunk * PAGE_BYTES * len(LAYERS),
        "block_size": BLOCK_SIZE * blocks_per_chunk,
    }
    config = SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config=extra),
        cache_config=SimpleNamespace(block_size=BLOCK_SIZE),
        parallel_config=SimpleNamespace(world_size=1),
        kv_events_config=SimpleNamespace(enable_kv_cache_events=True),
    )
    group = SimpleNamespace(kv_cache_spec=SimpleNamespace(block_size=BLOCK_SIZE, page_size_bytes=PAGE_BYTES))
    caches = SimpleNamespace(kv_cache_groups=[group], kv_cache_tensors=list(LAYERS))
    if control is None:
        return HostCopySpec(config, caches)
    extra[CONTROL_KEY] = str(control)
    return ChaosSpec(config, caches)
