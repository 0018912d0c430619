"""The offload spec as vLLM makes it, of a configuration with only what a spec reads."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.hostcopy.spec import HostCopySpec
from chaos.inside.process_globals import AUDIT_KEY, CONTROL_KEY
from chaos.inside.spec import ChaosSpec
from tests.server.contract.shapes.caches import BLOCK_SIZE, BLOCKS, LAYERS, PAGE_BYTES

BLOCK_BYTES = PAGE_BYTES * len(LAYERS)


def make_spec(chunks: int, blocks_per_chunk: int, control: Path | None, *, audit: bool = True) -> Any:
    """A host copy spec; with chaos when a control directory is given, and then in audit mode by default."""
    extra: dict[str, object] = {"cpu_bytes_to_use": chunks * blocks_per_chunk * BLOCK_BYTES}
    if control is not None:
        extra |= {CONTROL_KEY: str(control), AUDIT_KEY: audit}
    spec = HostCopySpec if control is None else ChaosSpec
    if "config" in inspect.signature(detect().offered("CPUOffloadingSpec")).parameters:
        return spec(_offloading_config(extra, blocks_per_chunk))
    extra["block_size"] = BLOCK_SIZE * blocks_per_chunk
    return spec(_vllm_config(extra), _kv_cache_config())


def _vllm_config(extra: dict[str, object]) -> Any:
    """VllmConfig, which specs read themselves to 0.25."""
    return SimpleNamespace(
        kv_transfer_config=SimpleNamespace(kv_connector_extra_config=extra),
        cache_config=SimpleNamespace(block_size=BLOCK_SIZE),
        parallel_config=SimpleNamespace(
            world_size=1, decode_context_parallel_size=1, prefill_context_parallel_size=1
        ),
        kv_events_config=SimpleNamespace(enable_kv_cache_events=True),
    )


def _kv_cache_config() -> Any:
    """The configuration of a KV cache with one group."""
    group = SimpleNamespace(kv_cache_spec=SimpleNamespace(block_size=BLOCK_SIZE, page_size_bytes=PAGE_BYTES))
    tensor = SimpleNamespace(size=BLOCKS * PAGE_BYTES, block_stride=0)
    return SimpleNamespace(
        num_blocks=BLOCKS, kv_cache_groups=[group], kv_cache_tensors=[tensor for _ in LAYERS]
    )


def _offloading_config(extra: dict[str, object], blocks_per_chunk: int) -> Any:
    """OffloadingConfig, which vLLM makes of VllmConfig from 0.26 on; later releases' fields are left out."""
    from vllm.v1.kv_offload import config

    group = _known(config.OffloadingGroupConfig, tokens_per_block=BLOCK_SIZE, layer_names=LAYERS, group_id=0)
    return config.OffloadingConfig(
        groups=(group,),
        worker_kv_bytes_per_block=BLOCK_BYTES,
        enable_kv_cache_events=True,
        extra_config=extra,
        engine_id="engine",
        model=config.OffloadingModelConfig(name="tiny", dtype="float32"),
        cache=config.OffloadingCacheConfig(tokens_per_hash=BLOCK_SIZE, blocks_per_chunk=blocks_per_chunk),
        parallel=_known(
            config.OffloadingParallelConfig,
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


def _known(kind: Any, **fields: object) -> Any:
    """An instance with those of the fields that this release has."""
    names = {field.name for field in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in fields.items() if name in names})
