"""Notes in the fault journals: what happened later, as the sign of a fault that fired before.

The field `about` of a note's evidence holds its id. Ids stay: stored runs have them.
"""

from __future__ import annotations

from typing import Any

import msgspec


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
    tag = note.__struct_config__.tag
    assert isinstance(tag, str)
    return tag


EARLIER_IDS = {
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
