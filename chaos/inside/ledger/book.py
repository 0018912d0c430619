"""The ledger of a role: its accounts, its violations, and the file that tells of them."""

from __future__ import annotations

import time
from pathlib import Path

from chaos.inside.ledger.account import Account
from chaos.inside.lines import RoleFile
from history.protocol.ledger import AccountBalance, Balance, Label, Violation, stored_balance

QUIET_S = 0.2
"""After so long without a change the balance is written down."""
AT_LEAST_EVERY_S = 1.0
"""And so often while there is no quiet."""
MOST_VIOLATIONS = 200
"""Of one process. A rule that is always broken must not fill the disk."""


class Ledger:
    """Writes `ledger-<role>-<pid>.jsonl` in the control directory.

    The server's own thread keeps the books; `settle` is called by the engine's watcher.
    """

    def __init__(self, control: Path, role: str) -> None:
        self._file = RoleFile(control, "ledger", role)
        self._accounts: dict[Label, Account] = {}
        self._violations = 0
        self.audited = 0
        """Blocks whose content was compared."""
        self.resident: int | None = None
        """Blocks in the offload tier by these books; None in a role that keeps none of them."""
        self._written_state: tuple[int, ...] = ()
        self._seen_state: tuple[int, ...] = ()
        self._seen_at = self._written_at = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def account(self, label: Label) -> Account:
        """The account of this name, made at first use."""
        return self._accounts.setdefault(label, Account())

    def violation(self, rule: str, where: Violation) -> None:
        self._violations += 1
        if self._violations <= MOST_VIOLATIONS:
            self._file.tell("violation", {"rule": rule, "evidence": where})

    def settle(self) -> None:
        """Write the balance when it has changed and is quiet, or has not been written for long."""
        now, state = time.monotonic(), self._state()
        if state != self._seen_state:
            self._seen_state, self._seen_at = state, now
        due = now - self._seen_at >= QUIET_S or now - self._written_at >= AT_LEAST_EVERY_S
        if state != self._written_state and due:
            self._written_state, self._written_at = state, now
            self._file.tell("balance", {"rule": None, "evidence": stored_balance(self._balance())})

    def _state(self) -> tuple[int, ...]:
        counts = (
            number
            for account in list(self._accounts.values())
            for number in (account.begun, account.ended, account.dropped)
        )
        return (*counts, self.resident or 0)

    def _balance(self) -> Balance:
        accounts = {label: _balance_of(account) for label, account in list(self._accounts.items())}
        return Balance(
            audited=self.audited, violations=self._violations, resident=self.resident, accounts=accounts
        )


def _balance_of(account: Account) -> AccountBalance:
    # Ends first: what is begun in between shows as open, and the next balance tells better.
    ended, begun = account.ended + account.dropped, account.begun
    since, names = account.oldest()
    longest_since_ns, longest_ns = account.take_longest() or (None, None)
    return AccountBalance(
        begun=begun,
        open=begun - ended,
        since_ns=since,
        names=names,
        longest_since_ns=longest_since_ns,
        longest_ns=longest_ns,
    )
