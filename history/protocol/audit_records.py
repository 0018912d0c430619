"""What the transfer audit records: ledgers, with ids of rules and accounts, and the provenance log.

The provenance log says which blocks each request read, and which it brought to the tier. A key stands for all
tokens up to the end of its block, as everywhere in vLLM. Written in audit mode only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from history.protocol.evidence import Count, Evidence, Time

STORED_TWICE = "block-stored-twice"
CHUNK_SHARED = "chunk-shared"
STORE_NOT_BEGUN = "store-not-begun"
LOADED_BEFORE_STORED = "loaded-before-stored"
LOADED_ELSEWHERE = "loaded-from-other-chunk"
LOAD_NOT_BEGUN = "load-not-begun"
EVICTED_WHILE_LOADED = "evicted-while-loaded"
EVICTED_WHILE_STORED = "evicted-while-stored"
SURVIVED_RESET = "survived-reset"
COPY_BEGUN_TWICE = "copy-begun-twice"
COPY_NOT_BEGUN = "copy-not-begun"
CHANGED_IN_TIER = "changed-in-tier"
CHANGED_WHILE_STORED = "changed-while-stored"
CHANGED_WHILE_LOADED = "changed-while-loaded"

Label = Literal["stores", "loads", "copies"]
"""Name of an account."""
STORES: Label = "stores"
LOADS: Label = "loads"
"""Accounts of the scheduler: stores and loads that were prepared."""
COPIES: Label = "copies"
"""Account of the worker: copies that were begun."""

EARLIER_RULES = {
    "a block is stored twice at a time": STORED_TWICE,
    "a chunk is given to a second block": CHUNK_SHARED,
    "a store ends that had not begun": STORE_NOT_BEGUN,
    "a block is loaded before it is stored": LOADED_BEFORE_STORED,
    "a block is loaded from another chunk than it was stored to": LOADED_ELSEWHERE,
    "a load ends that had not begun": LOAD_NOT_BEGUN,
    "a block is evicted while it is loaded": EVICTED_WHILE_LOADED,
    "a block is evicted while it is stored": EVICTED_WHILE_STORED,
    "a block is in the tier after its reset": SURVIVED_RESET,
    "a copy is begun twice": COPY_BEGUN_TWICE,
    "a copy ends that had not begun": COPY_NOT_BEGUN,
    "a block changed in the tier since it was stored": CHANGED_IN_TIER,
    "a block changed while it was stored": CHANGED_WHILE_STORED,
    "a block changed while it was loaded": CHANGED_WHILE_LOADED,
}
"""What earlier versions wrote in place of an id."""


class Violation(Evidence, frozen=True):
    """The block, chunk or job with which a rule was broken."""

    key: str | None = None
    """Key of the block, hexadecimal."""
    chunk: int | None = None
    """Chunk of the tier."""
    holder: str | None = None
    """Key of the block that has the chunk."""
    stored_to: int | None = None
    """The chunk to which the block was stored."""
    job: int | None = None
    """The copy."""
    block: int | None = None
    """Its number in the memory of the worker."""
    before: int | None = None
    """Checksum when the copy began, or when the store had ended."""
    now: int | None = None


class AccountBalance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One account: transfers that began and must each end once."""

    begun: Count
    open: int
    since_ns: Time | None
    """When the oldest that is open began."""
    names: Sequence[str] = ()
    """A few of those that are open, oldest first."""
    longest_since_ns: Time | None = None
    """Begin of the longest transfer that ended since the previous balance, wall clock ns."""
    longest_ns: Count | None = None
    """Duration of this longest transfer, ns."""


class Balance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All accounts of a process. A line has `begun` of `stores` as `stores_begun`, and so on."""

    audited: Count
    """Blocks whose content was compared."""
    violations: Count
    resident: Count | None = None
    """Blocks in the offload tier; None in a role that does not know."""
    accounts: dict[Label, AccountBalance]


_OF_ALL = frozenset(Balance.__struct_fields__) - {"accounts"}


def stored_balance(balance: Balance) -> dict[str, Any]:
    """The balance as a line of the transfer audit has it."""
    found: dict[str, Any] = {"audited": balance.audited, "violations": balance.violations}
    if balance.resident is not None:
        found["resident"] = balance.resident
    for label, account in balance.accounts.items():
        found |= {f"{label}_{name}": getattr(account, name) for name in AccountBalance.__struct_fields__}
    return found


def balance_in(evidence: Mapping[str, Any]) -> Balance:
    """The balance of a line. Raises msgspec.ValidationError."""
    accounts: dict[str, dict[str, Any]] = {}
    of_all: dict[str, Any] = {"accounts": accounts}
    for key, value in evidence.items():
        label, _, name = key.partition("_")
        if key in _OF_ALL:
            of_all[key] = value
        else:
            accounts.setdefault(label, {})[name] = value
    return msgspec.convert(of_all, Balance)


KEY_BYTES = 8
"""Bytes of a block's hash: they distinguish more blocks than a server ever has."""


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
    """Chunks of the tier, one for each key."""


class TierReset(ProvenanceEvent, frozen=True, tag="reset"):
    """The tier was emptied."""


class LogFull(ProvenanceEvent, frozen=True, tag="full"):
    """The last line: what comes later is not recorded."""


AnyProvenance = LogOpened | PrefixReused | LoadCached | BlocksStored | TierReset | LogFull
