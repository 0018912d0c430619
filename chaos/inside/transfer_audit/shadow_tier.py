"""A shadow of the offload tier, built from the calls that vLLM's scheduler makes to its manager."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from chaos.inside.transfer_audit.audit_log import AuditLog
from history.protocol import ledger as rules
from history.protocol.ledger import Violation


class ShadowTier:
    """Every prepared store and load ends once, and a block is read from the chunk it was written to."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit
        self._stores = audit.tracker(rules.STORES)
        self._loads = audit.tracker(rules.LOADS)
        self._chunk_of: dict[str, int] = {}
        self._holder_of: dict[int, str] = {}
        audit.resident = 0

    def store_begins(self, keys: Collection[Any], spec: Any, evicted: Iterable[Any]) -> None:
        """`spec` is the CPULoadStoreSpec of the answer."""
        self.evicted(evicted)
        for key, chunk in _placed(keys, spec):
            if self._stores.is_open(key):
                self._audit.violation(rules.STORED_TWICE, Violation(key=key, chunk=chunk))
            holder = self._holder_of.get(chunk)
            if holder is not None:
                self._audit.violation(rules.CHUNK_SHARED, Violation(key=key, chunk=chunk, holder=holder))
            self._stores.begin(key)
            self._chunk_of[key], self._holder_of[chunk] = chunk, key
        self._count()

    def store_ends(self, keys: Iterable[Any], *, success: bool) -> None:
        for key in map(_name, keys):
            if not self._stores.end(key):
                self._audit.violation(rules.STORE_NOT_BEGUN, Violation(key=key))
            if not success:
                self._leave(key)

    def load_begins(self, keys: Collection[Any], spec: Any) -> None:
        for key, chunk in _placed(keys, spec):
            if self._stores.is_open(key):
                self._audit.violation(rules.LOADED_BEFORE_STORED, Violation(key=key, chunk=chunk))
            elif self._chunk_of.get(key) != chunk:
                where = Violation(key=key, chunk=chunk, stored_to=self._chunk_of.get(key))
                self._audit.violation(rules.LOADED_ELSEWHERE, where)
            self._loads.begin(key)

    def load_ends(self, keys: Iterable[Any]) -> None:
        for key in map(_name, keys):
            if not self._loads.end(key):
                self._audit.violation(rules.LOAD_NOT_BEGUN, Violation(key=key))

    def evicted(self, keys: Iterable[Any]) -> None:
        for key in map(_name, keys):
            for rule, tracker in (
                (rules.EVICTED_WHILE_LOADED, self._loads),
                (rules.EVICTED_WHILE_STORED, self._stores),
            ):
                if tracker.is_open(key):
                    self._audit.violation(rule, Violation(key=key))
            self._leave(key)

    def reset(self) -> None:
        """The tier was emptied; vLLM does not report the ends of the transfers in flight."""
        self._stores.drop_all()
        self._loads.drop_all()
        self._chunk_of.clear()
        self._holder_of.clear()
        self._count()

    def keys(self) -> list[bytes]:
        """The blocks in the tier."""
        return [bytes.fromhex(key) for key in self._chunk_of]

    def survived(self, key: bytes) -> None:
        """A block was found in the tier right after the tier was emptied."""
        self._audit.violation(rules.SURVIVED_RESET, Violation(key=key.hex()))

    def _leave(self, key: str) -> None:
        chunk = self._chunk_of.pop(key, None)
        if chunk is not None:
            self._holder_of.pop(chunk, None)
        self._count()

    def _count(self) -> None:
        self._audit.resident = len(self._chunk_of)


def _placed(keys: Collection[Any], spec: Any) -> list[tuple[str, int]]:
    """Keys and their chunks."""
    return list(zip(map(_name, keys), spec.block_ids.tolist(), strict=True))


def _name(key: Any) -> str:
    return bytes(key).hex()
