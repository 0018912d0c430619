"""What a copy is described with, and the worker's metadata of a step that loads."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from vllm.distributed.kv_transfer.kv_connector.v1.offloading_connector import OffloadingConnectorMetadata

from chaos.hostcopy.generation import detect

GPULoadStoreSpec: Any = detect().offered("GPULoadStoreSpec")
CPULoadStoreSpec: Any = detect().offered("CPULoadStoreSpec")


def tier_chunks(chunks: Sequence[int]) -> Any:
    """Chunks of the tier: a CPULoadStoreSpec."""
    return CPULoadStoreSpec(list(chunks))


def device_blocks(blocks: Sequence[int], first: int | None) -> Any:
    """Blocks of the device: a GPULoadStoreSpec.

    `first` is where in its chunk the first block lies, None for a store. To 0.18 vLLM does not pass it: it
    follows from the numbers of blocks, which fill the last chunk.
    """
    parameters = inspect.signature(GPULoadStoreSpec).parameters
    if "block_indices" not in parameters:
        return GPULoadStoreSpec(list(blocks))
    if first is None and parameters["block_indices"].default is None:  # 0.19 tells it of loads only
        return GPULoadStoreSpec(list(blocks), [len(blocks)])
    return GPULoadStoreSpec(list(blocks), [len(blocks)], [first or 0])


def load_metadata(request: str, blocks: Sequence[int]) -> Any:
    """A step that loads these blocks for a request."""
    pair = (tier_chunks(range(len(blocks))), device_blocks(blocks, 0))
    job = getattr(import_module(OffloadingConnectorMetadata.__module__), "TransferJob", None)
    if job is None:  # to 0.20
        return OffloadingConnectorMetadata(reqs_to_load={request: pair}, reqs_to_store={})
    names = {field.name for field in dataclasses.fields(job)}
    values = {"transfer_spec": pair, "src_spec": pair[0], "dst_spec": pair[1], "sync": False}
    known = {name: value for name, value in values.items() if name in names}
    return OffloadingConnectorMetadata(load_jobs={7: job(req_id=request, **known)}, store_jobs={})


def requests_of(metadata: Any) -> set[str]:
    """The requests that a step loads for."""
    if hasattr(metadata, "reqs_to_load"):
        return set(metadata.reqs_to_load)
    return {job.req_id for job in metadata.load_jobs.values()}
