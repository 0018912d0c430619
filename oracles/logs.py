"""Does the server's log tell of a crash?"""

from __future__ import annotations

import re
from collections import Counter

from history.reader import History
from history.verdict import OracleResult, Witness
from oracles.findings import Findings
from oracles.lives import outages
from oracles.timeline import lines_before_stop, stop_line

NAME = "logs"

FATAL: tuple[tuple[str, str], ...] = (
    (r"Counters can only be incremented", "a counter was to be lowered"),
    (r"EngineCore encountered a fatal error", "the engine loop died"),
    (r"EngineCore failed to start|Engine core initialization failed", "the engine did not start"),
    (r"EngineDeadError", "a request met a dead engine"),
    (r"AsyncLLM output_handler failed", "the API server's output loop died"),
    (r"WorkerProc (hit an exception|failed to start)", "a worker failed"),
    (r"died unexpectedly", "a server process vanished"),
    (r"AssertionError", "an assertion of the server failed"),
    (r"Fatal Python error", "the interpreter crashed"),
    (r"Segmentation fault|SIGSEGV|\(core dumped\)", "a process crashed in native code"),
    (
        r"MemoryError|std::bad_alloc|[Cc]annot allocate memory|Out of memory",
        "memory ran out",
    ),
    (r"terminate called|double free|corrupted (size|double-linked)|free\(\): invalid", "native code aborted"),
    (r"Exception in ASGI application", "the API server failed on a request"),
    (r"Traceback \(most recent call last\)", "an exception was logged"),
)
"""Pattern and what it means. Narrow on purpose: a log level alone proves nothing, and the server prints
its whole configuration and harmless warnings that speak of errors. No pattern asks for the start of a
word, since a colour code may stand right before it."""

_ANY = re.compile("|".join(f"({pattern})" for pattern, _ in FATAL))
_EACH = tuple((re.compile(pattern), meaning) for pattern, meaning in FATAL)
MAX_TEXT = 300


def is_fatal(line: str) -> bool:
    """Whether a line is about a crash, by any of the patterns."""
    return _ANY.search(line) is not None


def _ending(history: History, number: int) -> str | None:
    """Which fault accounts for a line, counted from 1: what ends, or has lost its engine, may say so."""
    for outage in outages(history):
        if outage.log_from < number and (outage.log_to is None or number <= outage.log_to):
            return f"{outage.cause.fault} ({outage.cause.kind})"
    return None


def judge(history: History) -> OracleResult:
    """No fatal line before the server was stopped on purpose, but for those that the scenario allows.
    Witnesses: the first line of each sort."""
    found = Findings(NAME)
    lines = lines_before_stop(history)
    found.checked = len(lines)
    allowed = [(re.compile(line.pattern), line.why) for line in history.plan.scenario.allowed_log_lines]
    seen: set[str] = set()
    excused: Counter[str] = Counter()
    # Many lines of a long run are the same, those that tell of an answered request.
    suspects = {line for line in set(lines) if _ANY.search(line)}
    for number, line in enumerate(lines, start=1):
        if line not in suspects:
            continue
        permitted = next((why for pattern, why in allowed if pattern.search(line)), None)
        why = permitted or _ending(history, number)
        if why is not None:
            excused[why] += 1
            continue
        meaning = next(meaning for pattern, meaning in _EACH if pattern.search(line))
        if meaning in seen:
            found.violations += 1
            continue
        seen.add(meaning)
        found.violation(Witness(text=f"{meaning}: {line.strip()[:MAX_TEXT]}", log_line=number))
    if not lines:
        found.gap("the server's log is empty")
    elif len(lines) < (stop_line(history) or 0):
        found.gap(
            f"the server's log had {stop_line(history)} lines when it was stopped, {len(lines)} are left"
        )
    told = "".join(f"; {count} allowed: {why}" for why, count in excused.items())
    return found.result(f"{len(lines)} log lines, none fatal{told}")
