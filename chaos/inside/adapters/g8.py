"""Generation G8 (0.26 to 0.32): keys one by one with the request's context, one worker."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from vllm.v1.kv_offload.base import LookupResult, OffloadingManager, OffloadingWorker, TransferResult

from chaos.hostcopy.blocks import Plane, planes_of_canonical
from chaos.hostcopy.g8 import HostCopySpec
from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.faults import SCHEDULER, WORKER
from chaos.inside.gate import LOAD, STORE, Gate, Job

NAME = "G8"


class ChaosManager(OffloadingManager):
    """vLLM's manager with the scheduler-side faults."""

    def __init__(self, inner: OffloadingManager, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: Any, req_context: Any) -> LookupResult:
        answer = self._inner.lookup(key, req_context)
        if answer is LookupResult.HIT:
            strike = self._engine.strike("lookup_miss", request=req_context.req_id, key=bytes(key))
            if strike is not None:
                strike.fired({"key": bytes(key).hex(), "hit_blocks": 1, "answered_blocks": 0})
                return LookupResult.MISS
        return answer

    def get_load_source(self, key: Any, req_context: Any) -> Any:
        return self._inner.get_load_source(key, req_context)

    def prepare_load(self, keys: Collection[Any], req_context: Any) -> Any:
        return self._inner.prepare_load(keys, req_context)

    def touch(self, keys: Collection[Any], req_context: Any) -> None:
        self._inner.touch(keys, req_context)

    def complete_load(self, keys: Collection[Any], req_context: Any) -> None:
        self._inner.complete_load(keys, req_context)

    def prepare_store(self, keys: Collection[Any], req_context: Any) -> Any:
        keys = list(keys)
        fresh = [key for key in keys if self._inner.lookup(key, req_context) is LookupResult.MISS]
        if fresh and (strike := self._engine.strike("store_refused", request=req_context.req_id)):
            strike.fired({"blocks": len(fresh), "key": bytes(fresh[0]).hex()})
            return None
        return self._inner.prepare_store(keys, req_context)

    def complete_store(self, keys: Collection[Any], req_context: Any, success: bool = True) -> None:
        self._inner.complete_store(keys, req_context, success)

    def on_new_request(self, req_context: Any) -> Any:
        return self._inner.on_new_request(req_context)

    def on_request_finished(self, req_context: Any) -> None:
        self._inner.on_request_finished(req_context)

    def take_events(self) -> Iterable[Any]:
        return self._inner.take_events()

    def on_schedule_end(self, context: Any) -> None:
        self._inner.on_schedule_end(context)

    def has_pending_work(self) -> bool:
        return self._inner.has_pending_work()

    def reset_cache(self) -> None:
        self._inner.reset_cache()

    def get_stats(self) -> Any:
        return self._inner.get_stats()

    def shutdown(self) -> None:
        self._inner.shutdown()


class ChaosWorker(OffloadingWorker):
    """A worker behind the gate."""

    def __init__(self, inner: OffloadingWorker, engine: FaultEngine, planes: list[Plane]) -> None:
        self._inner = inner
        self._gate = Gate(engine, planes)

    def submit_store(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._gate.submit(
            Job(
                id=job_id,
                direction=STORE,
                device_blocks=src_spec.block_ids.tolist(),
                start=lambda: self._inner.submit_store(job_id, src_spec, dst_spec),
            )
        )

    def submit_load(self, job_id: int, src_spec: Any, dst_spec: Any) -> bool:
        return self._gate.submit(
            Job(
                id=job_id,
                direction=LOAD,
                device_blocks=dst_spec.block_ids.tolist(),
                start=lambda: self._inner.submit_load(job_id, src_spec, dst_spec),
            )
        )

    def get_finished(self) -> list[TransferResult]:
        self._gate.release_due()
        results = self._inner.get_finished()
        for result in results:
            held = self._gate.finished(result.job_id)
            if result.transfer_time is not None:
                result.transfer_time += held
        return results

    def wait(self, job_ids: set[int]) -> None:
        self._gate.release(job_ids)
        self._inner.wait(job_ids)

    def shutdown(self) -> None:
        self._inner.shutdown()


class ChaosSpec(HostCopySpec):
    """vLLM's CPU offloading spec with manager and worker wrapped."""

    _manager: OffloadingManager | None
    _worker: OffloadingWorker | None

    def get_manager(self) -> OffloadingManager:
        if not isinstance(self._manager, ChaosManager):
            engine = runtime.engine(SCHEDULER, self.extra_config, NAME)
            self._manager = ChaosManager(super().get_manager(), engine)
        return self._manager

    def get_worker(self, kv_caches: Any) -> OffloadingWorker:
        if not isinstance(self._worker, ChaosWorker):
            engine = runtime.engine(WORKER, self.extra_config, NAME)
            planes = planes_of_canonical(kv_caches)
            self._worker = ChaosWorker(super().get_worker(kv_caches), engine, planes)
        return self._worker


def loads(metadata: Any) -> Iterator[tuple[str, list[int]]]:
    """The loads that a step starts: request and device blocks."""
    for job in metadata.load_jobs.values():
        yield job.req_id, job.dst_spec.block_ids.tolist()
