"""Generation G8: keys with a request's context, one worker, canonical planes of (blocks, page bytes)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.kv_transfer.kv_connector.v1.offloading.common import (
    OffloadingConnectorMetadata,
    TransferJob,
)
from vllm.v1.kv_offload.base import (
    CanonicalKVCacheRef,
    CanonicalKVCaches,
    CanonicalKVCacheTensor,
    GPULoadStoreSpec,
    LookupResult,
    OffloadingManager,
    OffloadingWorker,
    ReqContext,
    make_offload_key,
)
from vllm.v1.kv_offload.config import (
    OffloadingCacheConfig,
    OffloadingConfig,
    OffloadingGroupConfig,
    OffloadingModelConfig,
    OffloadingParallelConfig,
)
from vllm.v1.kv_offload.cpu.common import CPULoadStoreSpec
from vllm.v1.kv_offload.cpu.manager import CPUOffloadingManager

from chaos.hostcopy.worker import HostCopySpec, HostCopyWorker
from chaos.inside.engine import FaultEngine
from chaos.inside.managers.keys import ChaosManager
from chaos.inside.runtime import CONTROL_KEY
from chaos.inside.spec import ChaosSpec
from chaos.inside.workers.worker import ChaosWorker
from tests.server.contract.bench import BLOCKS, CHUNKS, Finished, Stored, note_calls

BLOCK_SIZE = 4
PAGE_BYTES = 4096
PADDING = 64
PLANES = 2


class TierG8:
    def __init__(self, manager: Any) -> None:
        self.manager = manager
        self._requests = 0
        self._begin_request()

    def _begin_request(self) -> object:
        self._requests += 1
        self._context = ReqContext(req_id=f"cmpl-{self._requests}")
        return self.manager.on_new_request(self._context)

    def lookup(self, keys: Sequence[bytes]) -> int | None:
        hits = 0
        for key in keys:
            answer = self.manager.lookup(_key(key), self._context)
            if answer is LookupResult.RETRY:
                return None
            if answer is not LookupResult.HIT:
                break
            hits += 1
        return hits

    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None:
        output = self.manager.prepare_store([_key(key) for key in keys], self._context)
        if output is None:
            return None
        chunks = output.store_spec.block_ids.tolist()
        return [key[:-4] for key in output.keys_to_store], chunks, [key[:-4] for key in output.evicted_keys]

    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None:
        self.manager.complete_store([_key(key) for key in keys], self._context, success)

    def prepare_load(self, keys: Sequence[bytes]) -> list[int]:
        spec = self.manager.prepare_load([_key(key) for key in keys], self._context)
        chunks: list[int] = spec.block_ids.tolist()
        return chunks

    def complete_load(self, keys: Sequence[bytes]) -> None:
        self.manager.complete_load([_key(key) for key in keys], self._context)

    def touch(self, keys: Sequence[bytes]) -> None:
        self.manager.touch([_key(key) for key in keys], self._context)

    def end_request(self) -> object:
        self.manager.on_request_finished(self._context)
        stats = self.manager.get_stats()
        return self._begin_request(), stats.data, self.manager.has_pending_work()

    def events(self) -> list[tuple[list[bytes], bool]]:
        return [([key[:-4] for key in event.keys], event.removed) for event in self.manager.take_events()]

    def references(self) -> dict[bytes, int]:
        return {key[:-4]: chunk.ref_cnt for key, chunk in self.manager._policy.chunks.items()}


class CopiesG8:
    def __init__(self, spec: HostCopySpec) -> None:
        self._rows = [torch.zeros((BLOCKS, PAGE_BYTES + PADDING), dtype=torch.int8) for _ in range(PLANES)]
        caches = CanonicalKVCaches(
            tensors=[CanonicalKVCacheTensor(rows, PAGE_BYTES) for rows in self._rows],
            group_data_refs=[[CanonicalKVCacheRef(plane, PAGE_BYTES) for plane in range(PLANES)]],
        )
        self._worker = spec.get_worker(caches)

    def planes(self) -> list[torch.Tensor]:
        return [rows.view(torch.uint8)[:, :PAGE_BYTES] for rows in self._rows]

    def paddings(self) -> list[torch.Tensor]:
        return [rows.view(torch.uint8)[:, PAGE_BYTES:] for rows in self._rows]

    def store(self, job: int, blocks: Sequence[int], chunks: Sequence[int]) -> bool:
        device = GPULoadStoreSpec(list(blocks), group_sizes=[len(blocks)], block_indices=[0])
        return bool(self._worker.submit_store(job, device, CPULoadStoreSpec(list(chunks))))

    def load(self, job: int, chunks: Sequence[int], blocks: Sequence[int], first: int = 0) -> bool:
        device = GPULoadStoreSpec(list(blocks), group_sizes=[len(blocks)], block_indices=[first])
        return bool(self._worker.submit_load(job, CPULoadStoreSpec(list(chunks)), device))

    def told(self) -> list[tuple[int, Finished]]:
        return [
            (result.job_id, Finished(result.success, result.transfer_size, result.transfer_time))
            for result in self._worker.get_finished()
        ]

    def wait(self, jobs: set[int]) -> None:
        self._worker.wait(jobs)


class BenchG8:
    name = "G8"
    manager_base = OffloadingManager
    chaos_manager = ChaosManager
    worker_pairs: Sequence[tuple[type[Any], type[Any]]] = (
        (ChaosWorker, OffloadingWorker),
        (HostCopyWorker, OffloadingWorker),
    )

    def tier(self, chunks: int, control: Path | None) -> TierG8:
        return TierG8(_spec(chunks, 1, control).get_manager())

    def counting_tier(self, engine: FaultEngine, calls: list[str]) -> TierG8:
        inner = note_calls(calls, CPUOffloadingManager)(num_chunks=CHUNKS)
        return TierG8(ChaosManager(inner, engine))

    def copies(self, blocks_per_chunk: int, control: Path | None) -> CopiesG8:
        return CopiesG8(_spec(CHUNKS, blocks_per_chunk, control))

    def load_metadata(self, request: str, blocks: Sequence[int]) -> Any:
        chunks = CPULoadStoreSpec(list(range(len(blocks))))
        device = GPULoadStoreSpec(list(blocks), group_sizes=[len(blocks)], block_indices=[0])
        return OffloadingConnectorMetadata(load_jobs={7: TransferJob(request, chunks, device)}, store_jobs={})


def _key(block_hash: bytes) -> Any:
    return make_offload_key(block_hash, 0)


def _spec(chunks: int, blocks_per_chunk: int, control: Path | None) -> HostCopySpec:
    extra: dict[str, object] = {"cpu_bytes_to_use": chunks * blocks_per_chunk * PAGE_BYTES * PLANES}
    if control is not None:
        extra[CONTROL_KEY] = str(control)
    config = OffloadingConfig(
        groups=(OffloadingGroupConfig(tokens_per_block=BLOCK_SIZE, layer_names=("layers.0",), group_id=0),),
        worker_kv_bytes_per_block=PAGE_BYTES * PLANES,
        enable_kv_cache_events=True,
        extra_config=extra,
        engine_id="engine",
        model=OffloadingModelConfig(name="tiny", dtype="float32"),
        cache=OffloadingCacheConfig(tokens_per_hash=BLOCK_SIZE, blocks_per_chunk=blocks_per_chunk),
        parallel=OffloadingParallelConfig(
            rank=0,
            world_size=1,
            tp_size=1,
            pp_size=1,
            pcp_size=1,
            dcp_size=1,
            data_parallel_index=0,
            data_parallel_size=1,
            data_parallel_rank_local=None,
            is_parallelism_agnostic=False,
        ),
    )
    return HostCopySpec(config) if control is None else ChaosSpec(config)
