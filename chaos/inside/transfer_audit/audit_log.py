"""What the transfer audit keeps of a role: its transfer trackers, its violations, the file that records them.

In the scheduler, also a shadow of the offload tier, built from the calls that vLLM makes to its manager.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Any

from chaos.inside.journal_file import RoleFile
from history.protocol import audit_records as rules
from history.protocol.audit_records import AccountBalance, Balance, Label, Violation, stored_balance

Name = int | str
MAX_OLDEST_NAMES = 5
"""How many names of open transfers a balance lists."""


class TransferTracker:
    """Counts transfers that began and ended. Several of one name may be open at a time."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended = 0
        self.dropped = 0
        """Transfers that the server discarded by a reset; included in `begun`."""
        self._longest: tuple[int, int] | None = None
        self._open: dict[Name, list[int]] = {}
        """When each began, nanoseconds since the epoch."""

    def begin(self, name: Name) -> None:
        """Count the begin of a transfer under a name."""
        self.begun += 1
        self._open.setdefault(name, []).append(time.time_ns())

    def end(self, name: Name) -> bool:
        """End the oldest of this name; False when none is open."""
        since = self._open.get(name)
        if since is None:
            return False
        began = since.pop(0)
        if not since:
            del self._open[name]
        self.ended += 1
        lasted = time.time_ns() - began
        if self._longest is None or lasted > self._longest[1]:
            self._longest = began, lasted
        return True

    def take_longest(self) -> tuple[int, int] | None:
        """Begin and duration of the longest transfer that ended since the last call, nanoseconds."""
        longest, self._longest = self._longest, None
        return longest

    def drop_all(self) -> None:
        """Count all open transfers as dropped, as after a reset."""
        self.dropped += self.count()
        self._open.clear()

    def is_open(self, name: Name) -> bool:
        """Whether a transfer of this name is open."""
        return name in self._open

    def count(self) -> int:
        """Number of open transfers."""
        return self.begun - self.ended - self.dropped

    def oldest(self) -> tuple[int | None, list[str]]:
        """Begin of the oldest open transfer (None: none is open), and a few names, oldest first.

        Another thread than the server's may call this: the entries are copied in one step.
        """
        entries = list(self._open.items())
        dated = sorted((since[0], str(name)) for name, since in entries if since)
        return (dated[0][0] if dated else None), [name for _, name in dated[:MAX_OLDEST_NAMES]]


QUIET_S = 0.2
"""After so long without a change the balance is written down."""
SETTLE_EVERY_S = QUIET_S / 2
"""How often `settle` must be called: a balance is in the file 1.5 times QUIET_S after the last change."""
AT_LEAST_EVERY_S = 1.0
"""And so often while there is no quiet."""
MOST_VIOLATIONS = 200
"""Most violations that one process lists. A rule that is always violated must not fill the disk."""


class AuditLog:
    """Writes `ledger-<role>-<pid>.jsonl` in the control directory.

    The server's own thread updates it; the fault runtime's watcher calls `settle`. Without a file it counts
    and writes nothing.
    """

    def __init__(self, file: RoleFile | None) -> None:
        self._file = file
        self._trackers: dict[Label, TransferTracker] = {}
        self._violations = 0
        self.audited = 0
        """Blocks whose content was compared."""
        self.resident: int | None = None
        """Blocks in the offload tier by this audit; None in a role that does not track the tier."""
        self._written_state: tuple[int, ...] = ()
        self._observed_state: tuple[int, ...] = ()
        self._observed_at = self._written_at = time.monotonic()

    def close(self) -> None:
        """Close the file; lines after that are dropped."""
        if self._file is not None:
            self._file.close()

    @property
    def written(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def tracker(self, label: Label) -> TransferTracker:
        """The tracker of this label, created at first use."""
        return self._trackers.setdefault(label, TransferTracker())

    def violation(self, rule: str, where: Violation) -> None:
        """Write a violation of a rule; after `MOST_VIOLATIONS` they are only counted."""
        self._violations += 1
        if self._file is not None and self._violations <= MOST_VIOLATIONS:
            self._file.append("violation", {"rule": rule, "evidence": where})

    def settle(self) -> None:
        """Write the balance when it has changed and is quiet, or has not been written for long."""
        if self._file is None:
            return
        now, state = time.monotonic(), self._state()
        if state != self._observed_state:
            self._observed_state, self._observed_at = state, now
        due = now - self._observed_at >= QUIET_S or now - self._written_at >= AT_LEAST_EVERY_S
        if state != self._written_state and due:
            self._written_state, self._written_at = state, now
            self._file.append("balance", {"rule": None, "evidence": stored_balance(self._balance())})

    def _state(self) -> tuple[int, ...]:
        counts = (
            number
            for tracker in list(self._trackers.values())
            for number in (tracker.begun, tracker.ended, tracker.dropped)
        )
        return (*counts, self.resident or 0)

    def _balance(self) -> Balance:
        accounts = {label: _balance_of(tracker) for label, tracker in list(self._trackers.items())}
        return Balance(
            audited=self.audited, violations=self._violations, resident=self.resident, accounts=accounts
        )


def _balance_of(tracker: TransferTracker) -> AccountBalance:
    # Ends first: a transfer that begins in between shows as open, and the next balance corrects it.
    ended, begun = tracker.ended + tracker.dropped, tracker.begun
    since, names = tracker.oldest()
    longest_since_ns, longest_ns = tracker.take_longest() or (None, None)
    return AccountBalance(
        begun=begun,
        open=begun - ended,
        since_ns=since,
        names=names,
        longest_since_ns=longest_since_ns,
        longest_ns=longest_ns,
    )


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
        """Note the end of a store; after a failure its blocks leave the tier."""
        for key in map(_name, keys):
            if not self._stores.end(key):
                self._audit.violation(rules.STORE_NOT_BEGUN, Violation(key=key))
            if not success:
                self._leave(key)

    def load_begins(self, keys: Collection[Any], spec: Any) -> None:
        """Note the begin of a load, and check that its blocks are stored in these chunks."""
        for key, chunk in _placed(keys, spec):
            if self._stores.is_open(key):
                self._audit.violation(rules.LOADED_BEFORE_STORED, Violation(key=key, chunk=chunk))
            elif self._chunk_of.get(key) != chunk:
                where = Violation(key=key, chunk=chunk, stored_to=self._chunk_of.get(key))
                self._audit.violation(rules.LOADED_ELSEWHERE, where)
            self._loads.begin(key)

    def load_ends(self, keys: Iterable[Any]) -> None:
        """Note the end of a load."""
        for key in map(_name, keys):
            if not self._loads.end(key):
                self._audit.violation(rules.LOAD_NOT_BEGUN, Violation(key=key))

    def evicted(self, keys: Iterable[Any]) -> None:
        """Note evicted blocks, and check that none of them is being stored or loaded."""
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
