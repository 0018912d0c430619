"""Host copies for releases to 0.24: a handler for each direction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from vllm.platforms import current_platform

from chaos.hostcopy.generation import detect
from chaos.hostcopy.tier import Copied, HostTier, make_tier

generation = detect()
CPUOffloadingSpec: Any = generation.offered("CPUOffloadingSpec")
CPULoadStoreSpec: Any = generation.offered("CPULoadStoreSpec")
GPULoadStoreSpec: Any = generation.offered("GPULoadStoreSpec")
OffloadingHandler: Any = generation.offered("OffloadingHandler")
TransferResult: Any = generation.offered("TransferResult")

Entry = tuple[type[Any], type[Any], Any]
"""Source, target, and the handler of copies from the one to the other."""


class CopyHandler(OffloadingHandler):
    """One direction. A copy is done when it is submitted."""

    def __init__(self, copy: Callable[[int, Any, Any], Copied], transfer_type: tuple[str, str]) -> None:
        self._copy = copy
        self._transfer_type = transfer_type
        self._finished: list[Any] = []

    def transfer_async(self, job_id: int, spec: tuple[Any, Any]) -> bool:
        """Copy the blocks of a transfer at once; its end is reported by the next `get_finished`."""
        copied = self._copy(job_id, *spec)
        self._finished.append(
            TransferResult(
                job_id=job_id,
                success=True,
                transfer_size=copied.size,
                transfer_time=copied.seconds,
                transfer_type=self._transfer_type,
            )
        )
        return True

    def get_finished(self) -> list[Any]:
        """Results of the copies since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for."""


class HostCopySpec(CPUOffloadingSpec):
    """vLLM's CPU offloading, with host copies for the handlers on the CPU platform."""

    host_tier: HostTier | None = None
    """Known once the handlers are made."""

    def get_handlers(self, kv_caches: Any, *attn_backends: Any) -> Iterator[Entry]:
        """A handler for each direction; on other platforms than the CPU those of vLLM."""
        if not current_platform.is_cpu():
            yield from super().get_handlers(kv_caches, *attn_backends)
            return
        tier = self.host_tier = make_tier(self, kv_caches)
        yield GPULoadStoreSpec, CPULoadStoreSpec, CopyHandler(tier.store, ("GPU", "CPU"))
        yield CPULoadStoreSpec, GPULoadStoreSpec, CopyHandler(tier.load, ("CPU", "GPU"))
