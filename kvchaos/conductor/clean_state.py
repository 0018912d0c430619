"""Is a server as it was before its first load? What speaks against it, from what a run has seen at its end.

Only such a server may serve another run. Whatever cannot be shown speaks against it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.inside.lines import MAX_BYTES
from history.records import Evidence, LedgerRecord, ResourceRecord
from kvchaos.conductor.server_state import Gauges, Probe
from oracles.ledger import ACCOUNTS, ROLES
from oracles.logs import is_fatal
from oracles.resources import MORE_SHM, POOL_THREADS, Count

HALF_JOURNAL = MAX_BYTES // 2
"""The module closes a longer one for good, and another run may need as much again."""


@dataclass(frozen=True, slots=True)
class EndState:
    """What was seen of the server when the load of a run had gone."""

    starts: int
    """Of the server in this run."""
    unhealed: Sequence[str]
    """Phases whose faults were not seen to end."""
    drained: bool
    gauges: Gauges
    ledger: Sequence[LedgerRecord]
    """Of this run."""
    journal_bytes: int
    """Of the longest journal or ledger."""
    log: str
    """Of this run."""
    allowed: Sequence[str] = ()
    """Patterns of lines that the scenario expects, and that tell of no crash of the server."""


COUNTS = (
    Count("processes", lambda usage: usage.processes, 0),
    Count("threads", lambda usage: usage.threads, POOL_THREADS),
    Count("open files", lambda usage: usage.files, 0),
    Count("open sockets", lambda usage: usage.sockets, 0),
    Count("bytes under /dev/shm", lambda usage: usage.shm_bytes, MORE_SHM),
)
"""By how much more there may be than before the first load: less than the oracle allows within one run."""


def objections(state: EndState) -> list[str]:
    """What speaks against the server before its caches are emptied: that would hide what is still open."""
    return [
        *_of_the_run(state),
        *_of_the_gauges(state.gauges),
        *_of_the_ledger(state.ledger),
        *_of_the_log(state.log, state.allowed),
    ]


def of_the_caches(reset: Probe, ledger: Sequence[LedgerRecord]) -> Iterator[str]:
    """Whether device cache and offload tier are empty, by the answer and by the ledger after it."""
    if reset.ok is not True:
        yield f"device cache and offload tier were not reset: {reset.detail}"
    resident = _last(ledger).get("scheduler", {}).get("resident")
    if resident != 0:
        yield f"blocks in the offload tier by the ledger: {'unknown' if resident is None else resident}"


def of_the_resources(now: ResourceRecord | None, before: ResourceRecord | None) -> Iterator[str]:
    """What its processes use more than before its first load."""
    if now is None or before is None:
        yield "what its processes use was not seen"
        return
    if (now.leader, now.started) != (before.leader, before.started):
        yield "its leader is another process than before"
    for count in COUNTS:
        if count.of(now) > count.of(before) + count.more:
            yield f"{count.of(now)} {count.what}, {count.of(before)} before the first load"


def _of_the_run(state: EndState) -> Iterator[str]:
    if state.starts != 1:
        yield f"it was started {state.starts} times"
    if state.unhealed:
        yield f"faults of {', '.join(state.unhealed)} were not seen to end"
    if not state.drained:
        yield "it did not drain"
    if state.journal_bytes > HALF_JOURNAL:
        yield f"a journal of the chaos module has {state.journal_bytes} bytes"


def _of_the_gauges(gauges: Gauges) -> Iterator[str]:
    for what, value in (
        ("requests running", gauges.running),
        ("requests waiting", gauges.waiting),
        ("KV cache usage", gauges.kv_usage),
    ):
        if value is None:
            yield f"no gauge of {what}"
        elif value != 0:
            yield f"{what}: {value:g}"


def _of_the_ledger(ledger: Sequence[LedgerRecord]) -> Iterator[str]:
    broken = next((record.rule for record in ledger if record.event == "violation"), None)
    if broken is not None:
        yield f"the ledger has a violation: {broken}"
    last = _last(ledger)
    for role in ROLES:
        if role not in last:
            yield f"no ledger of the {role}"
    for role, balance in last.items():
        for account in ACCOUNTS:
            count = balance.get(f"{account}_open", 0)
            if count != 0:
                yield f"{count} {account} open in the ledger of the {role}"


def _last(ledger: Sequence[LedgerRecord]) -> dict[str, Evidence]:
    """The last balance of each role."""
    return {record.role: record.evidence for record in ledger if record.event == "balance"}


def _of_the_log(log: str, allowed: Sequence[str]) -> Iterator[str]:
    if log and not log.endswith("\n"):
        yield "the last line of its log is not whole"
    crashes = (line for line in log.splitlines() if is_fatal(line))
    fatal = next((line for line in crashes if not any(re.search(each, line) for each in allowed)), None)
    if fatal is not None:
        yield f"a crash in its log: {fatal.strip()[:100]}"
