"""The scheduler's provenance log: which blocks each request read, and which it brought to the tier.

A key stands for all tokens up to the end of its block, as everywhere in vLLM. Written in audit mode only.
"""

from __future__ import annotations

from collections.abc import Sequence

from history.protocol.evidence import Evidence

KEY_BYTES = 8
"""Of a block's hash: they tell apart more blocks than a server ever has."""


def short_key(key: bytes) -> str:
    """A block's hash, or key of the tier, as the log holds it: hexadecimal, its first bytes."""
    return key[:KEY_BYTES].hex()


class ProvenanceEvent(Evidence, frozen=True, tag_field="what"):
    """Base of all events of the log."""


class LogOpened(ProvenanceEvent, frozen=True, tag="opened"):
    """The first line. Nothing was read or stored before it."""


class PrefixReused(ProvenanceEvent, frozen=True, tag="reused"):
    """A request was given blocks that it need not compute; after a preemption, again."""

    device: Sequence[str] = ()
    """Keys of the blocks that the prefix cache of the device had, from the first block of the prompt on."""
    loaded: Sequence[str] = ()
    """Keys of the blocks behind them that are loaded from the tier."""
    blocks: Sequence[int] = ()
    """The blocks of the device to which those are loaded."""
    tier: Sequence[str] = ()
    """Keys requested from the tier, where they are not `loaded`: a chunk may have several blocks."""
    missed: str | None = None
    """Key of the block behind `device`, where the prefix cache surely has none of this key."""


class LoadCached(ProvenanceEvent, frozen=True, tag="cached"):
    """The blocks that a request loaded are in the prefix cache of the device from now on."""


class BlocksStored(ProvenanceEvent, frozen=True, tag="stored"):
    """A store of blocks of a request begins."""

    keys: Sequence[str]
    chunks: Sequence[int]
    """Of the tier, one for each key."""


class TierReset(ProvenanceEvent, frozen=True, tag="reset"):
    """The tier was emptied."""


class LogFull(ProvenanceEvent, frozen=True, tag="full"):
    """The last line: what comes later is not recorded."""


AnyProvenance = LogOpened | PrefixReused | LoadCached | BlocksStored | TierReset | LogFull
