"""One worker with a method for each direction (0.25 on)."""

from __future__ import annotations

from typing import Any

from chaos.hostcopy.blocks import planes_of
from chaos.hostcopy.worker import HostCopySpec, generation
from chaos.inside import runtime
from chaos.inside.gate import LOAD, STORE, Gate, Job
from chaos.inside.kind import WORKER
from chaos.inside.ledger.contents import contents_of
from chaos.inside.workers.pinned import pinned_tier


class ChaosWorker:
    """A worker behind the gate."""

    def __init__(self, inner: Any, gate: Gate) -> None:
        self._inner = inner
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._gate.submit(
            Job(
                id=job_id,
                direction=STORE,
                device=src_spec,
                chunks=dst_spec,
                start=lambda: self._inner.submit_store(job_id, src_spec, dst_spec),
                request=runtime.requests_of_jobs.take(job_id),
            )
        )

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any, *more: Any, **named: Any) -> bool:
        """More is told from 0.33 on: whether the load is expedited."""
        request = runtime.requests_of_jobs.take(job_id)
        return self._gate.submit(
            Job(
                id=job_id,
                direction=LOAD,
                device=dst_spec,
                chunks=src_spec,
                start=lambda: self._inner.submit_load(job_id, src_spec, dst_spec, *more, **named),
                request=request,
                at_once=request in runtime.within_step,
            )
        )

    def get_finished(self) -> list[Any]:
        return self._gate.finished_of(self._inner)

    def wait(self, job_ids: set[int]) -> None:
        self._gate.release(job_ids)
        self._inner.wait(job_ids)


class WrappedSpec(HostCopySpec):
    """vLLM's CPU offloading spec with its worker wrapped."""

    def get_worker(self, kv_caches: Any) -> Any:
        if not isinstance(self._worker, ChaosWorker):
            engine = runtime.engine(WORKER, self.extra_config, generation.name)
            inner = super().get_worker(kv_caches)
            planes = runtime.device[:] = planes_of(kv_caches)
            tier = self.host_tier or pinned_tier(inner._store_handler)
            contents = contents_of(
                self.extra_config, engine.ledger, planes, tier.own_planes() if tier is not None else None
            )
            self._worker = ChaosWorker(inner, Gate(engine, planes, tier, contents))
        return self._worker
