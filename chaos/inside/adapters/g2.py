"""Generation G2 (0.18): block hashes, whole-prefix lookups, a handler for each direction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from vllm.v1.kv_offload.abstract import OffloadingManager
from vllm.v1.kv_offload.worker.worker import OffloadingHandler, TransferResult, TransferSpec

from chaos.hostcopy.blocks import planes_by_layer
from chaos.hostcopy.g2 import Entry, HostCopySpec
from chaos.inside import runtime
from chaos.inside.engine import FaultEngine
from chaos.inside.faults import SCHEDULER, WORKER
from chaos.inside.gate import LOAD, STORE, Gate, Job

NAME = "G2"


class ChaosManager(OffloadingManager):
    """vLLM's manager with the scheduler-side faults. Its iterables are one-shot, hence the lists."""

    def __init__(self, inner: OffloadingManager, engine: FaultEngine) -> None:
        self._inner = inner
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, block_hashes: Iterable[Any]) -> int | None:
        hashes = list(block_hashes)
        hits = self._inner.lookup(hashes)
        for place in range(hits or 0):
            key = bytes(hashes[place])
            strike = self._engine.strike("lookup_miss", request=runtime.context.request, key=key)
            if strike is not None:
                strike.fired({"key": key.hex(), "hit_blocks": hits, "answered_blocks": place})
                return place
        return hits

    def prepare_load(self, block_hashes: Iterable[Any]) -> Any:
        return self._inner.prepare_load(list(block_hashes))

    def touch(self, block_hashes: Iterable[Any]) -> None:
        self._inner.touch(list(block_hashes))

    def complete_load(self, block_hashes: Iterable[Any]) -> None:
        self._inner.complete_load(list(block_hashes))

    def prepare_store(self, block_hashes: Iterable[Any]) -> Any:
        hashes = list(block_hashes)
        fresh = [key for key in hashes if self._inner.lookup([key]) == 0]
        if fresh and (strike := self._engine.strike("store_refused")):
            strike.fired({"blocks": len(fresh), "key": bytes(fresh[0]).hex()})
            return None
        return self._inner.prepare_store(hashes)

    def complete_store(self, block_hashes: Iterable[Any], success: bool = True) -> None:
        self._inner.complete_store(list(block_hashes), success)

    def take_events(self) -> Iterable[Any]:
        return self._inner.take_events()


class ChaosHandler(OffloadingHandler):
    """A handler of either direction behind the gate."""

    def __init__(self, inner: OffloadingHandler, direction: str, gate: Gate) -> None:
        self._inner = inner
        self._direction = direction
        self._gate = gate

    def transfer_async(self, job_id: int, spec: TransferSpec) -> bool:
        device = spec[1] if self._direction == LOAD else spec[0]
        return self._gate.submit(
            Job(
                id=job_id,
                direction=self._direction,
                device_blocks=device.block_ids.tolist(),
                start=lambda: self._inner.transfer_async(job_id, spec),
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


class ChaosSpec(HostCopySpec):
    """vLLM's CPU offloading spec with manager and handlers wrapped."""

    _manager: OffloadingManager | None

    def get_manager(self) -> OffloadingManager:
        if not isinstance(self._manager, ChaosManager):
            engine = runtime.engine(SCHEDULER, self.extra_config, NAME)
            self._manager = ChaosManager(super().get_manager(), engine)
        return self._manager

    def get_handlers(self, kv_caches: dict[str, torch.Tensor], attn_backends: Any) -> Iterator[Entry]:
        engine = runtime.engine(WORKER, self.extra_config, NAME)
        planes = planes_by_layer(kv_caches)
        for source, target, handler in super().get_handlers(kv_caches, attn_backends):
            direction = STORE if source.medium() == "GPU" else LOAD
            yield source, target, ChaosHandler(handler, direction, Gate(engine, planes))


def loads(metadata: Any) -> Iterator[tuple[str, list[int]]]:
    """The loads that a step starts: request and device blocks."""
    for request, (_, device) in metadata.reqs_to_load.items():
        yield request, device.block_ids.tolist()
