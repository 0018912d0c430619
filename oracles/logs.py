"""Does the server's log report a crash?"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from history.reader import History
from history.verdict import OracleResult, log_line
from oracles.findings import FAULTS, LOG, Findings, Oracle, Rule
from oracles.views.incarnations import outages
from oracles.views.timeline import lines_before_stop, stop_line

NAME = "logs"

READS = (LOG, FAULTS)


@dataclass(frozen=True, slots=True)
class Sign:
    """Lines that tell of one kind of crash."""

    pattern: re.Pattern[str]
    rule: Rule
    meaning: str


def _sign(name: str, meaning: str, pattern: str) -> Sign:
    law = f"No line of the log says that {meaning}, unless a fault or the scenario explains it."
    empty = "the log is empty or was cut"
    return Sign(re.compile(pattern), Rule(f"{NAME}/{name}", law, "vLLM source", READS, empty), meaning)


SIGNS = (
    _sign("counter-decrement", "the server tried to lower a counter", r"Counters can only be incremented"),
    _sign("engine-died", "the engine loop died", r"EngineCore encountered a fatal error"),
    _sign(
        "engine-not-started",
        "the engine did not start",
        r"EngineCore failed to start|Engine core initialization failed",
    ),
    _sign("engine-dead", "a request met a dead engine", r"EngineDeadError"),
    _sign("output-handler-died", "the API server's output loop died", r"AsyncLLM output_handler failed"),
    _sign("worker-died", "a worker failed", r"WorkerProc (hit an exception|failed to start)"),
    _sign("process-vanished", "a server process vanished", r"died unexpectedly"),
    _sign("assertion", "an assertion of the server failed", r"AssertionError"),
    _sign("interpreter-crash", "the interpreter crashed", r"Fatal Python error"),
    _sign(
        "segmentation-fault",
        "a process crashed in native code",
        r"Segmentation fault|Bus error|Illegal instruction|Floating point exception|SIG(SEGV|BUS|ILL|FPE)"
        r"|\(core dumped\)|Segfault encountered",
    ),
    _sign(
        "out-of-memory",
        "memory ran out",
        r"MemoryError|std::bad_alloc|[Cc]annot allocate memory|Out of memory|(CUDA|HIP) out of memory"
        r"|[Oo][Oo][Mm]-kill|oom_reaper|Killed process \d",
    ),
    _sign(
        "device-error",
        "a device or its communication failed",
        r"(CUDA|HIP) (driver )?error|cudaError|device-side assert|CUBLAS_STATUS_|cuDNN error|AcceleratorError"
        r"|NCCL error|nccl(Unhandled|System|Internal|Remote|InvalidUsage|InvalidArgument)",
    ),
    _sign(
        "native-abort",
        "native code aborted",
        r"terminate called|double free|corrupted (size|double-linked)|(free|malloc|realloc|calloc)\(\): "
        r"|munmap_chunk\(\)|free invalid pointer|stack smashing|buffer overflow detected|SIGABRT"
        r"|symbol lookup error",
    ),
    _sign("request-exception", "the API server failed on a request", r"Exception in ASGI application"),
    _sign("exception", "an exception was logged", r"Traceback \(most recent call last\)"),
)
"""The first that fits a line counts. Narrow on purpose: a log level alone proves nothing, and the server
prints its whole configuration and harmless warnings that speak of errors. No pattern asks for the start of
a word, since a colour code may stand right before it."""
RULES = tuple(sign.rule for sign in SIGNS)
ENGINE_DIED = next(rule for rule in RULES if rule.id == f"{NAME}/engine-died")

NATIVE = frozenset(
    f"{NAME}/{name}"
    for name in ("interpreter-crash", "segmentation-fault", "out-of-memory", "device-error", "native-abort")
)
"""Rules about crashes that no exception of the engine brings."""

_ANY = re.compile("|".join(f"({sign.pattern.pattern})" for sign in SIGNS))
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
    """Judge the server's log: no fatal line before the intended stop, except for allowed ones.

    The findings are the first line of each kind.
    """
    found = Findings(NAME)
    lines = lines_before_stop(history)
    found.checked = len(lines)
    allowed = [(re.compile(line.pattern), line.why) for line in history.plan.scenario.allowed_log_lines]
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
        sign = next(sign for sign in SIGNS if sign.pattern.search(line))
        if sign.rule.id in found.violations:
            found.violations[sign.rule.id] += 1
            continue
        text = f"{sign.meaning}: {line.strip()[:MAX_TEXT]}"
        found.violation(sign.rule, log_line(number), text)
    if not lines:
        found.gap("log-empty", "the server's log is empty")
    elif len(lines) < (stop_line(history) or 0):
        had = stop_line(history) or 0
        text = f"the server's log had {had} lines when it was stopped and has {len(lines)} now"
        found.gap("log-cut", text, figures={"had": had, "left": len(lines)})
    allowed_lines = "".join(f"; {count} lines are allowed: {why}" for why, count in excused.items())
    passed = f"none of {len(lines)} log lines reports a crash{allowed_lines}"
    return found.result(passed, lines=len(lines), allowed=excused.total())


ORACLE = Oracle(NAME, "the server's log reports no crash", (LOG,), judge, RULES)
