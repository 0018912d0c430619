"""The audit log of a role: its transfer trackers, its violations, and the file that records them."""

from __future__ import annotations

import time
from pathlib import Path

from chaos.inside.bounded_jsonl import RoleFile
from chaos.inside.transfer_audit.transfer_tracker import TransferTracker
from history.protocol.ledger import AccountBalance, Balance, Label, Violation, stored_balance

QUIET_S = 0.2
"""After so long without a change the balance is written down."""
AT_LEAST_EVERY_S = 1.0
"""And so often while there is no quiet."""
MOST_VIOLATIONS = 200
"""Of one process. A rule that is always broken must not fill the disk."""


class AuditLog:
    """Writes `ledger-<role>-<pid>.jsonl` in the control directory.

    The server's own thread updates it; the fault runtime's watcher calls `settle`.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._file = RoleFile(control, "ledger", role)
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
        self._file.close()

    def tracker(self, label: Label) -> TransferTracker:
        """The tracker of this label, created at first use."""
        return self._trackers.setdefault(label, TransferTracker())

    def violation(self, rule: str, where: Violation) -> None:
        self._violations += 1
        if self._violations <= MOST_VIOLATIONS:
            self._file.append("violation", {"rule": rule, "evidence": where})

    def settle(self) -> None:
        """Write the balance when it has changed and is quiet, or has not been written for long."""
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
