"""Do the fault journals of the processes agree with themselves and with what was sent?

A journal that does not has lost lines: what the faults did is unknown then.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from history.events import ServerExit
from history.reader import History
from history.records import FaultRecord
from history.verdict import fault as fault_subject
from history.verdict import process
from oracles.findings import Findings
from oracles.views.incarnations import OUTSIDE, incarnations
from oracles.views.struck_requests import by_name


def judge(history: History, fired: Sequence[FaultRecord], found: Findings) -> None:
    """Note gaps of the journals with firings."""
    _whole(history, fired, found)
    _repeated(fired, found)
    sites = {(line.pid, line.fault): line.site for line in history.faults if line.event == "armed"}
    meant = by_name(fired, history.requests)
    for line in fired:
        armed_at = sites.get((line.pid, line.fault))
        if armed_at is not None and line.site != armed_at:
            _gap(found, "other-site", line, f"fired at {line.site}, and was armed at {armed_at}")
        if not line.evidence:
            _gap(found, "no-evidence", line, "fired without evidence")
        if line.request is not None and not meant[line.request]:
            _gap(found, "unknown-request", line, f"struck {line.request}, of which there is no record")


def _whole(history: History, fired: Sequence[FaultRecord], found: Findings) -> None:
    """A process notes when the module is loaded, when faults are armed, and, if it lives, healed."""
    noted: dict[tuple[str, int], set[str]] = defaultdict(set)
    for line in history.faults:
        noted[line.role, line.pid].add(line.event)
    lived = len(incarnations(history)) == 1 and not history.events_of(ServerExit)
    for role, pid in sorted({(line.role, line.pid) for line in fired}):
        due = {"armed", *(() if role == OUTSIDE else ("loaded",)), *(("healed",) if lived else ())}
        others = noted[role, pid] - {"fired"}
        for event in sorted(due - others) if others else ():
            text = f"the fault journal of {role} {pid} has firings and no line that says {event}"
            found.gap(f"journal-without-{event}", text, process(role, pid))


def _repeated(fired: Sequence[FaultRecord], found: Findings) -> None:
    counts = Counter((line.pid, line.fault, line.site, line.n) for line in fired if line.n is not None)
    for (pid, fault, _, number), count in counts.items():
        if count > 1:
            text = f"process {pid}: fault {fault} fired {count} times at its arrival {number}"
            found.gap("line-repeated", text, fault_subject(fault), figures={"lines": count})


def _gap(found: Findings, kind: str, line: FaultRecord, what: str) -> None:
    text = f"fault {line.fault} {what}: {line.kind}, arrival {line.n}, process {line.pid}"
    found.gap(kind, text, fault_subject(line.fault))
