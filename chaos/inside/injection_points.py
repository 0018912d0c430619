"""What a fault finds at each injection point of the server, and what it can do there.

One class for each site. A site calls `FaultRuntime.inject` with it, and then does what the faults left in it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from msgspec.structs import replace

from chaos.inside.trigger_decisions import Injection
from history.protocol.evidence import ContentDamaged, Direction, Firing

if TYPE_CHECKING:
    from chaos.hostcopy.tier import Plane

LOOKUP = "lookup"
LOOKUP_MISS = "lookup-miss"
RESIDENCY = "residency"
STORE = "store"
STORE_END = "store-end"
MANAGER_CALL = "manager-call"
COPY = "copy"
COPY_RESULT = "copy-result"
COPY_RESULTS = "copy-results"
CONTENT = "content"
LOAD_RESULT = "load-result"
SITES = (
    *(LOOKUP, LOOKUP_MISS, RESIDENCY, STORE, STORE_END, MANAGER_CALL),
    *(COPY, COPY_RESULT, COPY_RESULTS, CONTENT, LOAD_RESULT),
)


LookupAnswer = Literal["hit", "miss", "retry"]


class InjectionPoint:
    """One invocation of a site."""

    @property
    def decided(self) -> bool:
        """Whether no further fault can be applied to it."""
        return False


@dataclass
class FoundBlock(InjectionPoint):
    """`lookup`: a block that is in the tier is looked up."""

    key: bytes
    hits: int
    """Blocks that hit in this call of vLLM, this one included."""
    earlier: int
    """Blocks before this one."""
    evict_idle: Callable[[], Sequence[Any]]
    """Evict all idle blocks; their keys."""
    answer: LookupAnswer = "hit"

    @property
    def decided(self) -> bool:
        """Whether a fault has changed the answer."""
        return self.answer != "hit"


@dataclass
class MissingBlock(InjectionPoint):
    """`lookup-miss`: a block that is not in the tier is looked up."""

    key: bytes
    claimed: bool = False


@dataclass
class TierBeforeStore(InjectionPoint):
    """`residency`: a store is to be prepared."""

    evict: Callable[[int], Sequence[Any]]
    """Evict about so many idle blocks; the keys."""
    occupy: Callable[[int, Injection], int]
    """Leave so many blocks usable, until the fault is over; returns the blocks that are occupied."""
    removed: Callable[[Collection[Any], Injection], None]
    """Call it with blocks that left the tier: their next store is noted."""


@dataclass
class NewStore(InjectionPoint):
    """`store`: a store that brings new blocks."""

    blocks: Sequence[Any]
    refused: bool = False

    @property
    def decided(self) -> bool:
        """Whether a fault has refused the store."""
        return self.refused


@dataclass
class FinishedStore(InjectionPoint):
    """`store-end`: the end of a store is reported to the tier."""

    blocks: Collection[Any]
    removed: Callable[[Collection[Any], Injection], None]
    failed: bool = False

    @property
    def decided(self) -> bool:
        """Whether the store is reported as failed."""
        return self.failed


@dataclass
class ManagerCall(InjectionPoint):
    """`manager-call`: vLLM calls the tier's manager."""

    hook: str


@dataclass
class CopyRequest(InjectionPoint):
    """`copy`: the worker is to begin a copy."""

    job: int
    direction: Direction
    refused: bool = False
    delay_s: float = 0.0
    delayed_by: Injection | None = None
    """It calls `fired` when the copy begins."""

    @property
    def decided(self) -> bool:
        """Whether a fault has refused or delayed the copy."""
        return self.refused or self.delayed_by is not None


@dataclass
class CopyEnd(InjectionPoint):
    """`copy-result`: a finished copy is to be reported."""

    job: int
    direction: Direction
    result: Any
    """vLLM's TransferResult."""
    reports: int = 1
    """How often it is reported now."""
    delay_s: float | None = None
    """After which it is reported instead."""
    again: tuple[Injection, Firing] | None = None
    """It is reported once more with the next results: the injection that fires then, and its evidence."""

    @property
    def decided(self) -> bool:
        """Whether a fault has changed what is reported, how often, or when."""
        return self.reports != 1 or self.delay_s is not None or self.again is not None


@dataclass
class CopyEnds(InjectionPoint):
    """`copy-results`: several finished copies are to be reported in one step."""

    jobs: list[int]
    directions: list[str]
    requests: list[str]
    reversed: bool = False

    def reverse(self) -> None:
        """Reverse the order in which the ends are reported."""
        self.reversed = not self.reversed
        for each in (self.jobs, self.directions, self.requests):
            each.reverse()


@dataclass
class CopiedBlocks(InjectionPoint):
    """`content`: a copy has written these blocks, on the device or in the tier."""

    direction: Direction
    planes: Sequence[Plane]
    blocks: Sequence[int]
    chunk_blocks: int | None
    """Blocks in a chunk of the tier; None where the blocks are on the device."""
    memory: dict[str, Any] = field(default_factory=dict)
    """Memory of the faults, for all copies of this direction."""
    damaged: bool = False

    def journal(self, injection: Injection, damage: ContentDamaged | None) -> None:
        """Journal what was changed; None: this copy has nothing to corrupt."""
        if damage is None:
            injection.refused("nothing-to-damage")
            return
        self.damaged = True
        size = self.chunk_blocks
        chunks = {block // size for block in damage.changed} if size else set()
        injection.fired(replace(damage, direction=self.direction, chunks=tuple(sorted(chunks))))


@dataclass
class FinishedLoad(InjectionPoint):
    """`load-result`: the blocks of a request are loaded."""

    blocks: list[int]
    """Blocks of the device."""
    failed: list[int] = field(default_factory=list)
    """Blocks to report as failed."""
    zeroed: list[int] = field(default_factory=list)
    """Blocks to overwrite."""
    given_up: bool = False
    """Whether the whole load is reported as failed."""


class SamplePoints:
    """A sample of each injection point, for contract cases. Those of `content` need tensors."""

    TIER: ClassVar[list[bytes]] = [bytes([number]) * 32 for number in range(4)]

    @classmethod
    def by_site(cls) -> Mapping[str, Callable[[], InjectionPoint]]:
        """A function for each site that makes a fresh injection point of it."""
        tier = cls.TIER
        return {
            LOOKUP: lambda: FoundBlock(tier[0], 2, 0, lambda: tier[1:]),
            LOOKUP_MISS: lambda: MissingBlock(tier[0]),
            RESIDENCY: lambda: TierBeforeStore(
                lambda n: tier[:n], lambda leave, injection: 4 - leave, _ignore
            ),
            STORE: lambda: NewStore(tier[:2]),
            STORE_END: lambda: FinishedStore(tier[:2], _ignore),
            MANAGER_CALL: lambda: ManagerCall("prepare_store"),
            COPY: lambda: CopyRequest(1, "load"),
            COPY_RESULT: lambda: CopyEnd(1, "load", _Result()),
            COPY_RESULTS: lambda: CopyEnds([1, 2], ["load", "store"], ["a", "b"]),
            LOAD_RESULT: lambda: FinishedLoad([4, 5, 6]),
        }


@dataclass
class _Result:
    """The same interface as vLLM's, as far as faults use it."""

    job_id: int = 1
    success: bool = True
    transfer_time: float = 0.001


def _ignore(blocks: Collection[Any], injection: Injection) -> None:
    """Nothing to note."""
