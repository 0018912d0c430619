"""One worker with a method for each direction (0.25 on)."""

from __future__ import annotations

from typing import Any

from chaos.hostcopy.tier import planes_of
from chaos.hostcopy.worker import HostCopySpec, generation
from chaos.inside import process_globals
from chaos.inside.fault_kind import WORKER
from chaos.inside.passthrough import Passthrough, public_methods
from chaos.inside.transfer_audit.block_checksums import checksums_of
from chaos.inside.transfer_interceptor import LOAD, STORE, TransferInterceptor, TransferJob
from chaos.inside.workers.pinned import pinned_tier


class ChaosWorker:
    """A worker behind the transfer interceptor."""

    def __init__(self, inner: Any, interceptor: TransferInterceptor) -> None:
        self._inner = inner
        self._interceptor = interceptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        """Begin a store through the interceptor; False when it is refused."""
        return self._interceptor.submit(
            TransferJob(
                id=job_id,
                direction=STORE,
                device=src_spec,
                chunks=dst_spec,
                start=lambda: self._inner.submit_store(job_id, src_spec, dst_spec),
                request=process_globals.requests_of_jobs.take(job_id),
            )
        )

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, *more: Any, **named: Any) -> bool:
        """`more` has `expedited` from 0.33 on."""
        request = process_globals.requests_of_jobs.take(job_id)
        return self._interceptor.submit(
            TransferJob(
                id=job_id,
                direction=LOAD,
                device=dst_spec,
                chunks=src_spec,
                start=lambda: self._inner.submit_load(job_id, src_spec, dst_spec, *more, **named),
                request=request,
                at_once=request in process_globals.within_step,
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
    """vLLM's CPU offloading spec with its worker wrapped."""

    def get_worker(self, kv_caches: Any) -> Any:
        """The one worker, vLLM's or that of host copies, behind the interceptor."""
        if not isinstance(self._worker, ChaosWorker):
            runtime = process_globals.fault_runtime(WORKER, self.extra_config, generation.name)
            inner = super().get_worker(kv_caches)
            planes = process_globals.device[:] = planes_of(kv_caches)
            tier = self.host_tier or pinned_tier(inner._store_handler)
            checksums = checksums_of(
                self.extra_config, runtime.audit, planes, tier.own_planes() if tier is not None else None
            )
            interceptor = TransferInterceptor(runtime, planes, tier, checksums)
            self._worker = wrapper = ChaosWorker(inner, interceptor)
            own = public_methods(inner)
            runtime.add_wrapper(Passthrough(wrapper, own, interceptor.settled, interceptor.forget))
        return self._worker
