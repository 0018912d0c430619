"""What the checks need of a generation, in one shape for all: a tier, copies, a connector."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from chaos.inside import runtime
from chaos.inside.control import LEASE, SCHEDULE
from chaos.inside.engine import FaultEngine
from tests.server.contract.waiting import wait_until

BLOCKS = 12
"""Blocks on the device."""
CHUNKS = 6
"""Chunks in the tier."""

Stored = tuple[list[bytes], list[int], list[bytes]]
"""Keys to store, their chunks, keys evicted."""


class Tier(Protocol):
    """A manager, vLLM's own or wrapped, asked in one way."""

    manager: Any

    def lookup(self, keys: Sequence[bytes]) -> int | None: ...
    def prepare_store(self, keys: Sequence[bytes]) -> Stored | None: ...
    def complete_store(self, keys: Sequence[bytes], *, success: bool) -> None: ...
    def prepare_load(self, keys: Sequence[bytes]) -> list[int]: ...
    def complete_load(self, keys: Sequence[bytes]) -> None: ...
    def touch(self, keys: Sequence[bytes]) -> None: ...
    def end_request(self) -> object:
        """End the request whose turn it is and begin another; what the manager says to that."""

    def events(self) -> list[tuple[list[bytes], bool]]:
        """Keys and whether they were removed."""

    def references(self) -> dict[bytes, int]:
        """Loads under way by block, in the order of eviction where that can be seen; -1: not ready."""


@dataclass(frozen=True)
class Finished:
    """A finished copy."""

    success: bool
    size: int
    seconds: float


class Copies(Protocol):
    """A device cache, and the worker or handlers that copy between it and the tier."""

    def planes(self) -> list[torch.Tensor]:
        """Bytes of the device cache by plane, (BLOCKS, bytes), as views of it."""

    def paddings(self) -> list[torch.Tensor]:
        """Bytes beside the blocks that nobody may touch."""

    def store(self, job: int, blocks: Sequence[int], chunks: Sequence[int]) -> bool: ...
    def load(self, job: int, chunks: Sequence[int], blocks: Sequence[int], first: int = 0) -> bool:
        """Load into these blocks, from block `first` of the chunks on."""

    def told(self) -> list[tuple[int, Finished]]:
        """Jobs whose ends are told now, in the order told."""

    def wait(self, jobs: set[int]) -> None: ...


class Bench(Protocol):
    """One generation of the plug-in API."""

    name: str
    manager_base: type[Any]
    chaos_manager: type[Any]
    worker_pairs: Sequence[tuple[type[Any], type[Any]]]
    """Wrapper or host copy class, and vLLM's base of it."""

    def tier(self, chunks: int, control: Path | None) -> Tier:
        """A tier of a spec; with chaos when a control directory is given."""

    def counting_tier(self, engine: FaultEngine, calls: list[str]) -> Tier:
        """A wrapped manager whose inner manager notes the names of the methods that are called."""

    def copies(self, blocks_per_chunk: int, control: Path | None) -> Copies: ...
    def load_metadata(self, request: str, blocks: Sequence[int]) -> Any:
        """What the scheduler tells the worker of a step that loads."""


class Control:
    """The conductor's side, written by hand, since the conductor lives in another interpreter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._epoch = 0

    def arm(self, kind: str, trigger: Mapping[str, object] | None = None, **params: object) -> None:
        """Arm one fault, `f1`, and wait until the journal says so. Strikes every arrival by default."""
        self._put([{"id": "f1", "kind": kind, "trigger": trigger or {"every": 1}, "params": params}])
        self._wait("armed")

    def heal(self) -> dict[str, Any]:
        """End the fault; its `healed` line."""
        self._put([])
        return self._wait("healed")

    def fired(self) -> list[dict[str, Any]]:
        """The proofs so far."""
        return [line["evidence"] for line in self.lines() if line["event"] == "fired"]

    def lines(self) -> list[dict[str, Any]]:
        paths = sorted(self.path.glob("faults-*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def _put(self, faults: list[dict[str, object]]) -> None:
        self._epoch += 1
        self._seen = len(self.lines())
        content = {"v": 1, "epoch": self._epoch, "seed": 11, "lease_s": 120, "faults": faults}
        (self.path / LEASE).touch()
        draft = self.path / ".draft"
        draft.write_text(json.dumps(content))
        draft.replace(self.path / SCHEDULE)

    def _wait(self, event: str) -> dict[str, Any]:
        def new() -> list[dict[str, Any]]:
            return [line for line in self.lines()[self._seen :] if line["event"] == event]

        wait_until(lambda: bool(new()), f"the journal says {event}")
        return new()[0]


@contextmanager
def control_room() -> Iterator[Control]:
    """A control directory, and no engine left from the check before."""
    runtime._engines.clear()
    with tempfile.TemporaryDirectory() as folder:
        yield Control(Path(folder))
    runtime._engines.clear()


def make_bench() -> Bench:
    """The bench of the installed vLLM's generation."""
    from chaos.hostcopy.generation import detect

    if detect().name == "G2":
        from tests.server.contract.bench_g2 import BenchG2

        return BenchG2()
    from tests.server.contract.bench_g8 import BenchG8

    return BenchG8()


def note_calls(calls: list[str], manager: type[Any]) -> type[Any]:
    """A subclass of vLLM's manager that notes which of its methods are called from outside."""

    def noting(name: str) -> Callable[..., Any]:
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return getattr(manager, name)(self, *args, **kwargs)

        return method

    public = [name for name in dir(manager) if callable(getattr(manager, name)) and not name.startswith("_")]
    return type("Noting", (manager,), {name: noting(name) for name in public})
