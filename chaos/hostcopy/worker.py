"""Host copies for releases from 0.25 on: one worker with a method for each direction."""

from __future__ import annotations

from typing import Any

from vllm.platforms import current_platform

from chaos.hostcopy.generation import detect
from chaos.hostcopy.tier import Copied, HostTier, make_tier

generation = detect()
CPUOffloadingSpec: Any = generation.offered("CPUOffloadingSpec")
OffloadingWorker: Any = generation.offered("OffloadingWorker")
TransferResult: Any = generation.offered("TransferResult")


class HostCopyWorker(OffloadingWorker):
    """Copies are done when they are submitted."""

    def __init__(self, tier: HostTier) -> None:
        self._tier = tier
        self._finished: list[Any] = []

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        """Copy blocks of the device to the tier at once; the end is reported by the next `get_finished`."""
        self._finished.append(_result(self._tier.store(job_id, src_spec, dst_spec)))
        return True

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, expedited: bool = False) -> bool:
        """Copy blocks of the tier to the device at once; the end is reported by the next `get_finished`."""
        self._finished.append(_result(self._tier.load(job_id, src_spec, dst_spec)))
        return True

    def get_finished(self) -> list[Any]:
        """Results of the copies since the last call."""
        finished, self._finished = self._finished, []
        return finished

    def wait(self, job_ids: set[int]) -> None:
        """Nothing to wait for."""


def _result(copied: Copied) -> Any:
    return TransferResult(
        job_id=copied.job, success=True, transfer_size=copied.size, transfer_time=copied.seconds
    )


class HostCopySpec(CPUOffloadingSpec):
    """vLLM's CPU offloading, with host copies for the worker on the CPU platform."""

    _worker: Any
    host_tier: HostTier | None = None
    """Known once the worker is made."""

    def get_worker(self, kv_caches: Any) -> Any:
        """The one worker; on other platforms than the CPU that of vLLM."""
        if not current_platform.is_cpu():
            return super().get_worker(kv_caches)
        if self._worker is None:
            self.host_tier = make_tier(self, kv_caches)
            self._worker = HostCopyWorker(self.host_tier)
        return self._worker
