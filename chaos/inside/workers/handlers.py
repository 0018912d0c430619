"""Handlers by direction (to 0.24)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chaos.hostcopy.blocks import planes_of
from chaos.hostcopy.handlers import Entry, HostCopySpec, generation
from chaos.inside import runtime
from chaos.inside.faults import WORKER
from chaos.inside.gate import LOAD, STORE, Gate, Job
from chaos.inside.ledger.contents import Contents, contents_of


class ChaosHandler:
    """A handler of either direction behind the gate."""

    def __init__(self, inner: Any, direction: str, gate: Gate) -> None:
        self._inner = inner
        self._direction = direction
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def transfer_async(self, job_id: int, spec: tuple[Any, Any]) -> bool:
        device, chunks = reversed(spec) if self._direction == LOAD else spec
        return self._gate.submit(
            Job(
                id=job_id,
                direction=self._direction,
                device=device,
                chunks=chunks,
                start=lambda: self._inner.transfer_async(job_id, spec),
            )
        )

    def get_finished(self) -> list[Any]:
        return self._gate.finished_of(self._inner)

    def wait(self, job_ids: set[int]) -> None:
        self._gate.release(job_ids)
        self._inner.wait(job_ids)


class WrappedSpec(HostCopySpec):
    """vLLM's CPU offloading spec with its handlers wrapped."""

    def get_handlers(self, kv_caches: Any, *attn_backends: Any) -> Iterator[Entry]:
        engine = runtime.engine(WORKER, self.extra_config, generation.name)
        planes = planes_of(kv_caches)
        contents: Contents | None = None
        for source, target, handler in super().get_handlers(kv_caches, *attn_backends):
            direction = STORE if source.medium() == "GPU" else LOAD
            # Known with the first handler; both directions share the books.
            contents = contents or contents_of(self.extra_config, engine.ledger, planes, self.host_tier)
            gate = Gate(engine, planes, self.host_tier, contents)
            yield source, target, ChaosHandler(handler, direction, gate)
