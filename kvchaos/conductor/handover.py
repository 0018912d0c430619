"""The end of a run that may leave its server to the next one: the proof that it is clean, or objections.

Only a server that is as it was before its first load may serve another run. Whatever cannot be shown speaks
against it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.fault_catalogue import outlives_reset
from chaos.inside.journal_file import MAX_BYTES
from history import layout
from history.jsonl import UnreadableRun
from history.protocol.audit_records import Balance
from history.reader import read_faults, read_ledgers
from history.records import LedgerRecord, ResourceRecord
from kvchaos.conductor import server_state
from kvchaos.conductor.server_state import Gauges, ResetResult
from kvchaos.polling import poll
from kvchaos.prometheus.scraper import Samples
from kvchaos.stacks.server_files import CollectedFiles
from kvchaos.stacks.stack import Stack
from oracles.logs import is_fatal
from oracles.resources import MORE_SHM, POOL_THREADS, BoundedCount
from oracles.transfer_invariants import ROLES

HALF_JOURNAL = MAX_BYTES // 2
"""The module closes a longer one for good, and another run may need as much again."""


@dataclass(frozen=True, slots=True)
class EndState:
    """What was observed of the server when the load of a run had ended."""

    starts: int
    """Starts of the server in this run."""
    unhealed: Sequence[str]
    """Phases whose faults have no confirmed end."""
    drained: bool
    gauges: Gauges
    ledger: Sequence[LedgerRecord]
    """Ledger lines of this run."""
    journal_bytes: int
    """Size of the longest journal or ledger."""
    log: str
    """Log of this run."""
    allowed: Sequence[str] = ()
    """Patterns of log lines that the scenario expects and that are no crash of the server."""
    lasting_damage: Sequence[str] = ()
    """Kinds of fault that fired and whose damage outlives a reset of the caches."""


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
"""Allowed increase since before the first load: less than the oracle allows within one run."""


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
        yield Objection("usage-unseen", "the resources of its processes could not be read")
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
        yield Objection("not-healed", f"faults of {', '.join(state.unhealed)} were not confirmed healed")
    if not state.drained:
        yield Objection("not-drained", "it did not drain")
    for kind in state.lasting_damage:
        yield Objection("lasting-damage", f"the damage of {kind} stays in its KV cache after a reset")
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


NOT_ENDED = "the run did not reach its end"
QUIET_S = 0.5
CONNECTIONS_CLOSED_S = 6.0
"""Seconds in which the server closes the connections of a load that has ended."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The state of a run and its server when all load is over."""

    run_dir: Path
    samples: Samples | None
    """Samples of a scrape that was made just now."""
    starts: int
    """Starts of the server in this run."""
    unhealed: Sequence[str]
    """Phases whose faults have no confirmed end."""
    drained: bool
    allowed_log_lines: Sequence[str] = ()
    """Patterns."""


class Handover:
    """Whether a server may serve another run. Made where there is one to follow."""

    def __init__(self, stack: Stack, files: CollectedFiles, before: ResourceRecord | None) -> None:
        """`before` is what the server used before its first load; None: that is still to be measured."""
        self._stack = stack
        self._files = files
        self.before = before
        self._reset: server_state.ResetResult | None = None
        self.figures: Samples | None = None
        """The server's metrics at the end of the proof. They must stand still until the next run."""
        self.objections: list[str] = [NOT_ENDED]
        """Why the server must not serve another run; empty when it is proved clean."""

    @property
    def clean(self) -> bool:
        """Whether nothing forbids that the server serves another run."""
        return not self.objections

    def before_load(self) -> None:
        """Note what the server uses now, unless an earlier run did."""
        if self.before is None:
            # The server may not have closed the connection of the first request yet.
            time.sleep(QUIET_S)
            self.before = self._stack.resources()

    def empty_caches(self, base_url: str, end: RunEnd) -> None:
        """Empty device cache and offload tier, unless something speaks against the server already.

        To be called when the run's own evidence is whole: a reset ends in the ledgers what was open.
        """
        self.objections = self._before_reset(end)
        if not self.objections:
            self._reset = server_state.reset_prefix_cache(base_url, self._files.log, tier=True)
            self.objections = [NOT_ENDED]

    def prove(self, end: RunEnd) -> None:
        """The rest, when the load's connections are closed and the ledgers had time to be written."""
        if self._reset is None:
            return
        usage = self._settled()
        self.objections = [
            *(self._before_reset(end) or map(str, of_the_caches(self._reset, read_ledgers(end.run_dir)))),
            *map(str, of_the_resources(usage, self.before)),
        ]
        self.figures = None if end.samples is None else server_state.own_figures(end.samples)

    def _before_reset(self, end: RunEnd) -> list[str]:
        self._files.collect()
        try:
            ledger, faults = read_ledgers(end.run_dir), read_faults(end.run_dir)
        except UnreadableRun as error:
            return [str(error)]
        log = (end.run_dir / layout.SERVER_LOG).read_text(encoding="utf-8", errors="replace")
        before_reset = objections(
            EndState(
                starts=end.starts,
                unhealed=end.unhealed,
                drained=end.drained,
                gauges=server_state.gauges(end.samples),
                ledger=ledger,
                journal_bytes=self._files.journal_bytes(),
                log=log,
                allowed=end.allowed_log_lines,
                lasting_damage=sorted(
                    {
                        line.kind
                        for line in faults
                        if line.event == "fired" and line.kind and outlives_reset(line.kind)
                    }
                ),
            )
        )
        return list(map(str, before_reset))

    def _settled(self) -> ResourceRecord | None:
        """What the server uses, a little later if it is more than before."""
        return poll(
            self._stack.resources,
            lambda usage: not list(of_the_resources(usage, self.before)),
            CONNECTIONS_CLOSED_S,
            POLL_S,
        )
