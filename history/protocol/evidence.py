"""What the lines of a fault journal hold as evidence: by event, note and kind of fault.

A note says what happened later, as the sign of a fault that fired before; its field `about` holds its id. A
field that has its default is left out. Fields and ids stay: stored runs have them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

SCHEMA_VERSION = 2
"""Version of run directories: each line that is written names it as `v`."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Wall clock, ns since the epoch."""
Direction = Literal["load", "store"]
HealReason = Literal["conductor", "lease-expired", "schedule-removed", "schedule-refused"]
"""conductor: it healed the faults. The others: the lease ran out, or the schedule was gone or malformed."""
RefusalReason = Literal[
    "schedule-malformed",
    "unsupported",
    "dry-run",
    "other-fault",
    "healed-first",
    "nothing-to-damage",
    "no-idle-block",
    "still-in-force",
    "target",
    "fault-raised",
]
"""schedule-malformed: it cannot be read. unsupported: this vLLM has no such site. dry-run: by its parameter.
other-fault: of the same invocation. healed-first: before it could fire. nothing-to-damage: in this copy.
no-idle-block: to evict. still-in-force: its firing before. target: it cannot be carried out on the target.
fault-raised: its code, of another package, raised an error."""


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Base of all evidence."""


class Loaded(Evidence, frozen=True):
    """The chaos module was loaded in a process."""

    generation: str
    """Name of vLLM's plug-in API."""
    sites: Sequence[str] = ()
    kinds: list[str] | None = None
    """Kinds of faults that can fire there; None where an earlier version did not note it."""


class Armed(Evidence, frozen=True):
    """A fault is in force."""

    epoch: int | None = None
    """Epoch of the schedule; None from outside the server."""


class Healed(Evidence, frozen=True):
    """A fault is no longer in force."""

    reason: HealReason
    fired: Count
    """How often it did."""


class Refused(Evidence, frozen=True):
    """A schedule, a fault, or one firing that was due was not carried out."""

    reason: RefusalReason
    detail: str = ""
    """Details as text."""


class Firing(Evidence, frozen=True):
    """Base of the evidence of firings."""


class CopyFired(Firing, frozen=True, kw_only=True):
    """A copy, or the report of its end, was struck. Of the faults in copies."""

    job: int | None = None
    direction: Direction


class CopyDelayed(CopyFired, frozen=True, kw_only=True):
    """A copy or the report of its end was delayed. Of `copy_delay` and `completion_late`."""

    ms: float


class LoadBlocksFailed(Firing, frozen=True):
    """Blocks of a load are reported as failed. Of `load_failure`."""

    blocks: list[int]
    """Device blocks that are reported as failed."""
    of: Count
    """Blocks of the load."""


class LoadFailed(Firing, frozen=True):
    """A load is reported as failed. Of `load_failed`."""

    blocks: Count
    """Device blocks of the load."""


class CompletionsReordered(Firing, frozen=True):
    """Ends in the order reported, an entry for each in all three."""

    jobs: list[int]
    directions: list[str]
    """Empty for the end of a copy that never began."""
    requests: list[str]
    """Empty for one that is not known."""


class ContentDamaged(Firing, frozen=True, kw_only=True):
    """Bytes of blocks were changed. Of all faults that damage blocks."""

    direction: Direction | None = None
    bytes_changed: Count
    block: int | None = None
    other: int | None = None
    """The block with which it was exchanged."""
    blocks: Sequence[int] = ()
    """Where all of a copy are changed."""
    chunks: Sequence[int] = ()
    """Chunks of the tier with the changed content; none for stores of earlier versions."""
    plane: str | None = None
    offset: Count | None = None
    """Offset of the first byte, in the block and plane."""
    before: int | None = None
    after: int | None = None

    @property
    def changed(self) -> list[int]:
        """All blocks that were changed: of the device by a load, of the tier by a store."""
        return [*(block for block in (self.block, self.other) if block is not None), *self.blocks]


FIRINGS: dict[str, type[Firing]] = {}
"""Types of evidence by kind of fault. The catalogue of faults registers the type of each."""


def as_stored(evidence: Evidence) -> dict[str, Any]:
    """The evidence as a line of the journal has it."""
    found: dict[str, Any] = msgspec.to_builtins(evidence)
    return found


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="about"):
    """Base of all notes. The request and its states are on the line itself."""


class LoadRetried(Note, frozen=True, tag="load-retried"):
    """The scheduler asks the tier again for a request whose load was reported as failed."""


class BlockStoredAgain(Note, frozen=True, tag="block-stored-again"):
    """The server stores a block again that the fault took from the tier."""

    key: str
    """Hexadecimal."""


class RequestAbandoned(Note, frozen=True, tag="request-abandoned"):
    """vLLM ended a request before it was done, since its client had left."""

    computed: int
    """Tokens of the request that were computed or loaded."""
    answered: int
    """Tokens of its answer."""


class FaultReverted(Note, frozen=True, forbid_unknown_fields=False, tag="fault-reverted"):
    """A fault from outside was undone. The evidence also holds what its kind of fault shows of that."""

    lifted_ns: int
    """Wall clock time at which the undoing began."""


AnyNote = LoadRetried | BlockStoredAgain | RequestAbandoned | FaultReverted


def id_of(note: type[Note]) -> str:
    """The tag by which journals name a type of note."""
    tag = note.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


EARLIER_NOTES = {
    "asks the tier again after a failed load": id_of(LoadRetried),
    "stores a block again that was lost": id_of(BlockStoredAgain),
    "gave a request up, whose client has left": id_of(RequestAbandoned),
    "undone": id_of(FaultReverted),
}
"""What earlier versions wrote in place of an id."""


def note_in(evidence: Any) -> AnyNote:
    """The note that the evidence of a line of the journal holds. Raises msgspec.ValidationError."""
    note: AnyNote = msgspec.convert(evidence, AnyNote)
    return note
