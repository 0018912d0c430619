"""Handlers by direction (to 0.24)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chaos.hostcopy.handlers import Entry, HostCopySpec, generation
from chaos.hostcopy.tier import planes_of
from chaos.inside import process_globals
from chaos.inside.fault_kind import WORKER
from chaos.inside.passthrough import Passthrough, public_methods
from chaos.inside.transfer_audit.block_checksums import checksums_of
from chaos.inside.transfer_interceptor import LOAD, STORE, TransferInterceptor, TransferJob
from chaos.inside.workers.pinned import pinned_tier
from history.protocol.evidence import Direction


class ChaosHandler:
    """A handler of either direction behind the transfer interceptor."""

    def __init__(self, inner: Any, direction: Direction, interceptor: TransferInterceptor) -> None:
        self._inner = inner
        self._direction = direction
        self._interceptor = interceptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transfer_async(self, job_id: int, spec: tuple[Any, Any]) -> bool:
        """Begin a copy through the interceptor; False when it is refused."""
        device, chunks = reversed(spec) if self._direction == LOAD else spec
        request = process_globals.requests_of_jobs.take(job_id, spec)
        return self._interceptor.submit(
            TransferJob(
                id=job_id,
                direction=self._direction,
                device=device,
                chunks=chunks,
                start=lambda: self._inner.transfer_async(job_id, spec),
                request=request,
                at_once=self._direction == LOAD and request in process_globals.within_step,
            )
        )

    def get_finished(self) -> list[Any]:
        """Results of the copies that may be reported now."""
        return self._interceptor.finished_of(self._inner)

    def wait(self, job_ids: set[int]) -> None:
        """Release delayed copies of these jobs, then wait for them."""
        self._interceptor.release(job_ids)
        self._inner.wait(job_ids)


class WrappedSpec(HostCopySpec):
    """vLLM's CPU offloading spec with its handlers wrapped."""

    def get_handlers(self, kv_caches: Any, *attn_backends: Any) -> Iterator[Entry]:
        """vLLM's handlers of both directions, behind one interceptor."""
        runtime = process_globals.fault_runtime(WORKER, self.extra_config, generation.name)
        entries = [
            (source, target, handler, STORE if source.medium() == "GPU" else LOAD)
            for source, target, handler in super().get_handlers(kv_caches, *attn_backends)
        ]
        stores = next(handler for _, _, handler, direction in entries if direction == STORE)
        tier = self.host_tier or pinned_tier(stores)
        planes = process_globals.device[:] = planes_of(kv_caches)
        # Both directions share the checksums.
        checksums = checksums_of(
            self.extra_config, runtime.audit, planes, tier.own_planes() if tier is not None else None
        )
        for source, target, handler, direction in entries:
            interceptor = TransferInterceptor(runtime, planes, tier, checksums)
            wrapper = ChaosHandler(handler, direction, interceptor)
            own = public_methods(handler)
            runtime.add_wrapper(Passthrough(wrapper, own, interceptor.settled, interceptor.forget))
            yield source, target, wrapper
