"""Is a server as it was before its first load? Objections, from what a run has observed at its end.

Only such a server may serve another run. Whatever cannot be shown speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.inside.control import MAX_BYTES
from history.protocol.audit_records import Balance
from history.records import LedgerRecord, ResourceRecord
from kvchaos.conductor.server_state import Gauges, ResetResult
from oracles.logs import is_fatal
from oracles.resources import MORE_SHM, POOL_THREADS, BoundedCount
from oracles.transfer_invariants import ROLES

HALF_JOURNAL = MAX_BYTES // 2
"""The module closes a longer one for good, and another run may need as much again."""


@dataclass(frozen=True, slots=True)
class EndState:
    """What was observed of the server when the load of a run had ended."""

    starts: int
    """Of the server in this run."""
    unhealed: Sequence[str]
    """Phases whose faults have no confirmed end."""
    drained: bool
    gauges: Gauges
    ledger: Sequence[LedgerRecord]
    """Of this run."""
    journal_bytes: int
    """Of the longest journal or ledger."""
    log: str
    """Of this run."""
    allowed: Sequence[str] = ()
    """Patterns of log lines that the scenario expects and that are no crash of the server."""


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a server."""

    kind: str
    """A short name of this reason."""
    text: str

    def __str__(self) -> str:
        return self.text


COUNTS = (
    BoundedCount("processes", lambda usage: usage.processes, 0),
    BoundedCount("threads", lambda usage: usage.threads, POOL_THREADS),
    BoundedCount("open files", lambda usage: usage.files, 0),
    BoundedCount("open sockets", lambda usage: usage.sockets, 0),
    BoundedCount("bytes under /dev/shm", lambda usage: usage.shm_bytes, MORE_SHM),
)
"""By how much more there may be than before the first load: less than the oracle allows within one run."""


def objections(state: EndState) -> list[Objection]:
    """What speaks against the server before its caches are emptied: that would hide what is still open."""
    return [
        *_of_the_run(state),
        *_of_the_gauges(state.gauges),
        *_of_the_ledger(state.ledger),
        *_of_the_log(state.log, state.allowed),
    ]


def of_the_caches(reset: ResetResult, ledger: Sequence[LedgerRecord]) -> Iterator[Objection]:
    """Whether device cache and offload tier are empty, by the answer and by the ledger after it."""
    if reset.ok is not True:
        yield Objection("not-reset", f"device cache and offload tier were not reset: {reset.detail}")
    scheduler = _last(ledger).get("scheduler")
    resident = None if scheduler is None else scheduler.resident
    if resident != 0:
        count = "unknown" if resident is None else resident
        yield Objection("tier-not-empty", f"blocks in the offload tier by the ledger: {count}")


def of_the_resources(now: ResourceRecord | None, before: ResourceRecord | None) -> Iterator[Objection]:
    """What its processes use more than before its first load."""
    if now is None or before is None:
        yield Objection("usage-unseen", "what its processes use was not seen")
        return
    if (now.leader, now.started) != (before.leader, before.started):
        yield Objection("another-process", "its leader is another process than before")
    for count in COUNTS:
        if count.of(now) > count.of(before) + count.more:
            text = f"{count.of(now)} {count.what}, {count.of(before)} before the first load"
            yield Objection("uses-more", text)


def _of_the_run(state: EndState) -> Iterator[Objection]:
    if state.starts != 1:
        yield Objection("restarted", f"it was started {state.starts} times")
    if state.unhealed:
        yield Objection("not-healed", f"faults of {', '.join(state.unhealed)} were not seen to end")
    if not state.drained:
        yield Objection("not-drained", "it did not drain")
    if state.journal_bytes > HALF_JOURNAL:
        yield Objection("journal-too-long", f"a journal of the chaos module has {state.journal_bytes} bytes")


def _of_the_gauges(gauges: Gauges) -> Iterator[Objection]:
    for what, value in (
        ("requests running", gauges.running),
        ("requests waiting", gauges.waiting),
        ("KV cache usage", gauges.kv_usage),
    ):
        if value is None:
            yield Objection("gauge-absent", f"no gauge of {what}")
        elif value != 0:
            yield Objection("gauge-not-zero", f"{what}: {value:g}")


def _of_the_ledger(ledger: Sequence[LedgerRecord]) -> Iterator[Objection]:
    broken = next((record.rule for record in ledger if record.event == "violation"), None)
    if broken is not None:
        yield Objection("ledger-violation", f"the ledger has a violation: {broken}")
    last = _last(ledger)
    for role in ROLES:
        if role not in last:
            yield Objection("no-ledger", f"no ledger of the {role}")
    for role, balance in last.items():
        for label, account in balance.accounts.items():
            if account.open != 0:
                yield Objection("ledger-open", f"{account.open} {label} open in the ledger of the {role}")


def _last(ledger: Sequence[LedgerRecord]) -> dict[str, Balance]:
    """The last balance of each role."""
    last = {record.role: record for record in ledger if record.event == "balance"}
    return {role: record.balance for role, record in last.items() if record.balance is not None}


def _of_the_log(log: str, allowed: Sequence[str]) -> Iterator[Objection]:
    if log and not log.endswith("\n"):
        yield Objection("log-line-cut", "the last line of its log is not whole")
    crashes = (line for line in log.splitlines() if is_fatal(line))
    fatal = next((line for line in crashes if not any(re.search(each, line) for each in allowed)), None)
    if fatal is not None:
        yield Objection("crash-logged", f"a crash in its log: {fatal.strip()[:100]}")
