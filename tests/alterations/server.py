"""Kinds that alter events, journals, ledgers, the log and the plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from history import layout
from tests.alterations.draft import Draft, Record
from tests.alterations.kind import REFUSED, UNKNOWN, Kind, NotApplicable

SECOND_NS = 1_000_000_000
Table = tuple[tuple[str, str, tuple[str, ...], Callable[[Draft], None]], ...]


def _event(kind: str, at: int = -1, **data: object) -> Callable[[Draft], None]:
    """The event of a kind at a place has other data."""

    def alter(draft: Draft) -> None:
        found = draft.events(kind)
        if not found or all(found[at]["data"].get(key) == value for key, value in data.items()):
            raise NotApplicable
        found[at]["data"].update(data)

    return alter


def _drop(kind: str, draft: Draft) -> None:
    if not draft.events(kind):
        raise NotApplicable
    events = draft.lines[layout.EVENTS]
    events[:] = [event for event in events if event["kind"] != kind]


def _add(kind: str, draft: Draft, **data: object) -> None:
    """Before the last event, which counts the lines."""
    events = draft.lines[layout.EVENTS]
    at = events[-2]
    events.insert(-1, {**at, "kind": kind, "data": data})


def _died(draft: Draft) -> None:
    _add("server_exit", draft, code=-11, pid=draft.events("server_start")[-1]["data"]["pid"])


def _started_again(draft: Draft) -> None:
    events = draft.lines[layout.EVENTS]
    start = draft.events("server_start")[-1]
    later = draft.events("phase_end")[0]
    data = {**start["data"], "pid": start["data"]["pid"] + 1}
    events.insert(events.index(later), {**later, "kind": "server_start", "data": data})


def _drop_first(kind: str, draft: Draft) -> None:
    found = draft.events(kind)
    if not found:
        raise NotApplicable
    draft.lines[layout.EVENTS].remove(found[0])


EVENTS: Table = (
    ("died", "the server ends with SIGSEGV", ("server-alive/died",), _died),
    (
        "started-again",
        "the server starts twice",
        ("counters/unexplained-restart", "server-alive", UNKNOWN),
        _started_again,
    ),
    (
        "canary-failed",
        "the last probe fails",
        ("server-alive",),
        _event("canary", ok=False, error="HTTP 503"),
    ),
    (
        "canary-failed-between",
        "a probe between phases fails",
        ("server-alive",),
        _event("canary", 1, ok=False, error="HTTP 503"),
    ),
    (
        "canary-request",
        "a probe names a request that there is not",
        ("server-alive", "outcomes", UNKNOWN),
        _event("canary", request="canary-99"),
    ),
    (
        "health-red",
        "/health is red after a good probe",
        ("server-alive/health-false-negative",),
        _event("health", ok=False, status=503),
    ),
    (
        "drain-failed",
        "the server does not come to rest",
        ("drained/not-drained",),
        _event("drained", ok=False),
    ),
    ("drain-running", "a request runs after the end", ("drained",), _event("drained", running=1.0)),
    ("drain-waiting", "a request waits after the end", ("drained",), _event("drained", waiting=1.0)),
    ("drain-usage", "blocks are in use after the end", ("drained",), _event("drained", kv_usage=0.5)),
    (
        "leak",
        "the leak probe finds blocks in use",
        ("drained/blocks-leaked",),
        _event("leak_probe", ok=False, answer='{"success":false}', detail="blocks are still held"),
    ),
    (
        "leak-silent",
        "the leak probe gets no answer",
        (UNKNOWN,),
        _event("leak_probe", ok=None, answer="", detail="timed out"),
    ),
    (
        "phase-failed",
        "the end of a phase counts a failed request",
        ("outcomes", UNKNOWN),
        _event("phase_end", ok=1, failed=1),
    ),
    ("phase-sent", "a phase sent half of its requests", ("outcomes", UNKNOWN), _event("phase_end", sent=1)),
    (
        "phase-stalled",
        "a phase ended by a stall",
        ("progress", "outcomes", UNKNOWN),
        _event("phase_end", reason="stalled"),
    ),
    (
        "stop-killed",
        "the server had to be killed at the stop",
        ("server-alive", "logs"),
        _event("server_stop", code=-9),
    ),
    (
        "stop-segfault",
        "the server crashed at the stop",
        ("server-alive", "logs"),
        _event("server_stop", code=-11),
    ),
    (
        "unconfirmed",
        "a healing was not confirmed",
        (UNKNOWN, "faults-fired"),
        _event("healed", confirmed=False),
    ),
    (
        "unclean",
        "the server was not proved clean",
        ("drained", "transfer-invariants", UNKNOWN),
        _event("clean_state", clean=False, objections=["blocks are left"]),
    ),
    ("failed", "the run failed", (UNKNOWN,), lambda draft: _add("run_failed", draft, reason="no room")),
    (
        "interrupted",
        "the run was interrupted",
        (UNKNOWN,),
        lambda draft: _add("interrupted", draft, signal="SIGINT"),
    ),
    ("odd", "there is an event of no kind", (REFUSED,), lambda draft: _add("mood", draft, ok=True)),
    *(
        (f"no-{kind}", f"there is no event {kind}", (UNKNOWN,), partial(_drop, kind))
        for kind in (
            "canary",
            "health",
            "drained",
            "leak_probe",
            "armed",
            "healed",
            "phase_start",
            "phase_end",
            "server_ready",
            "server_start",
            "server_stop",
            "evidence",
        )
    ),
    ("no-first-phase", "the first phase never began", (UNKNOWN,), partial(_drop_first, "phase_start")),
    ("no-first-phase-end", "the first phase never ended", (UNKNOWN,), partial(_drop_first, "phase_end")),
)


def _journal(prefix: str, event: str, change: Callable[[Record], object]) -> Callable[[Draft], None]:
    """The last line of an event in the first file of the prefix that has one."""

    def alter(draft: Draft) -> None:
        for lines in draft.of(f"{layout.CONTROL}/{prefix}"):
            found = [line for line in lines if line["event"] == event]
            if found:
                change(found[-1])
                return
        raise NotApplicable

    return alter


def _without(prefix: str, event: str | None, draft: Draft) -> None:
    """No line of an event, or no line at all."""
    removed = 0
    for lines in draft.of(f"{layout.CONTROL}/{prefix}"):
        before = len(lines)
        lines[:] = [line for line in lines if event is not None and line["event"] != event]
        removed += before - len(lines)
    if not removed:
        raise NotApplicable


def _more(prefix: str, event: str, times: int, **changes: object) -> Callable[[Draft], None]:
    """The last line of an event comes again, with changes."""

    def alter(draft: Draft) -> None:
        for lines in draft.of(f"{layout.CONTROL}/{prefix}"):
            found = [line for line in lines if line["event"] == event]
            if found:
                lines.extend({**found[-1], **changes} for _ in range(times))
                return
        raise NotApplicable

    return alter


def _evidence(**changes: object) -> Callable[[Record], object]:
    return lambda line: line["evidence"].update(changes)


def _balance(role: str, **changes: object) -> Callable[[Draft], None]:
    return _journal(f"ledger-{role}", "balance", _evidence(**changes))


FAULTS: Table = (
    ("not-fired", "no fault fired", (UNKNOWN,), partial(_without, "faults-", "fired")),
    ("not-armed", "no fault was armed", (UNKNOWN,), partial(_without, "faults-", "armed")),
    ("not-healed", "no fault was healed", (UNKNOWN,), partial(_without, "faults-", "healed")),
    ("not-loaded", "the module was never loaded", (UNKNOWN,), partial(_without, "faults-", "loaded")),
    ("no-journal", "the journals are empty", (UNKNOWN,), partial(_without, "faults-", None)),
    (
        "unplanned",
        "a fault that nobody planned fires",
        ("faults-fired/unplanned",),
        _more("faults-", "fired", 1, fault="stranger"),
    ),
    (
        "too-often",
        "a fault fires a thousand times",
        ("faults-fired/over-limit", UNKNOWN),
        _more("faults-", "fired", 1000),
    ),
    (
        "early",
        "a fault fires before it is armed",
        ("faults-fired/not-armed",),
        _journal("faults-", "fired", lambda line: line.update(t_ns=line["t_ns"] - 600 * SECOND_NS)),
    ),
    (
        "late",
        "a fault fires long after it was healed",
        ("faults-fired/not-armed",),
        _journal("faults-", "fired", lambda line: line.update(t_ns=line["t_ns"] + 600 * SECOND_NS)),
    ),
    (
        "other-kind",
        "a fault fires as another kind",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal(
            "faults-",
            "fired",
            lambda line: line.update(kind="bit_flip" if line["kind"] != "bit_flip" else "lookup_miss"),
        ),
    ),
    (
        "other-request",
        "a fault strikes another request",
        ("faults-fired", "blast-radius", UNKNOWN),
        _journal("faults-", "fired", lambda line: line.update(request="cmpl-nobody-0")),
    ),
    (
        "other-site",
        "a fault fires in another place",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal("faults-", "fired", lambda line: line.update(site="nowhere")),
    ),
    (
        "no-evidence",
        "a firing has no evidence",
        ("faults-fired", UNKNOWN, REFUSED),
        _journal("faults-", "fired", lambda line: line.update(evidence={})),
    ),
)

LEDGER: Table = (
    ("lost", "there is no ledger", (UNKNOWN,), partial(_without, "ledger-", None)),
    (
        "scheduler-lost",
        "the scheduler kept no ledger",
        (UNKNOWN,),
        partial(_without, "ledger-scheduler", None),
    ),
    ("worker-lost", "the worker kept no ledger", (UNKNOWN,), partial(_without, "ledger-worker", None)),
    (
        "store-open",
        "a store never ended",
        ("transfer-invariants/store-never-ended",),
        _balance("scheduler", stores_open=1, stores_since_ns=1, stores_names=["00"]),
    ),
    (
        "load-open",
        "a load never ended",
        ("transfer-invariants/load-never-ended",),
        _balance("scheduler", loads_open=1, loads_since_ns=1, loads_names=["00"]),
    ),
    (
        "copy-open",
        "a copy never ended",
        ("transfer-invariants/copy-never-ended",),
        _balance("worker", copies_open=1, copies_since_ns=1, copies_names=["1"]),
    ),
    (
        "violations",
        "violations were counted and not listed",
        ("transfer-invariants", UNKNOWN),
        _balance("worker", violations=3),
    ),
    (
        "audited-less",
        "one block was audited",
        ("transfer-invariants", UNKNOWN),
        _balance("worker", audited=1),
    ),
    ("audited-none", "no block was audited", ("transfer-invariants", UNKNOWN), _balance("worker", audited=0)),
    (
        "copies-fewer",
        "a tenth of the copies was begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("worker", copies_begun=1),
    ),
    (
        "loads-more",
        "a thousand loads more were begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("scheduler", loads_begun=100_000),
    ),
    (
        "stores-more",
        "a thousand stores more were begun",
        ("transfer-invariants", "accounting", UNKNOWN),
        _balance("scheduler", stores_begun=100_000),
    ),
    (
        "resident",
        "blocks stay in the tier after the reset",
        ("transfer-invariants", "drained"),
        _balance("scheduler", resident=100),
    ),
    (
        "stale",
        "the last balance is an hour old",
        (UNKNOWN,),
        _journal("ledger-worker", "balance", lambda line: line.update(t_ns=line["t_ns"] - 3600 * SECOND_NS)),
    ),
)


def _line(text: str, at: float = 0.6) -> Callable[[Draft], None]:
    """One more line in the log, long before the server is stopped."""

    def alter(draft: Draft) -> None:
        place = int(len(draft.log) * at)
        draft.log.insert(place, text)
        for stop in draft.events("server_stop"):
            stop["data"]["log_line"] += 1

    return alter


def _log_lost(draft: Draft) -> None:
    draft.log[:] = []


def _log_cut(draft: Draft) -> None:
    draft.log[len(draft.log) // 2 :] = [""]


CORE = "(EngineCore pid=99) ERROR 11-29 06:12:33 [core.py:1063] "
LOG: Table = (
    ("lost", "the log is empty", (UNKNOWN,), _log_lost),
    ("cut", "the log ends in the middle", (UNKNOWN,), _log_cut),
    *(
        (name, f"the log has: {text}", ("logs",), _line(text))
        for name, text in (
            ("traceback", f"{CORE}Traceback (most recent call last):"),
            ("exception", f"{CORE}RuntimeError: it broke"),
            ("assertion", f"{CORE}AssertionError: block is not free"),
            ("decrement", "ValueError: Counters can only be incremented by non-negative amounts."),
            ("engine-dead", "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."),
            ("segfault", "Fatal Python error: Segmentation fault"),
            ("segfault-native", "!!!!!!! Segfault encountered !!!!!!!"),
            ("bus-error", "Fatal Python error: Bus error"),
            ("bus-error-shell", "Bus error (core dumped)"),
            ("stack-smashing", "*** stack smashing detected ***: terminated"),
            ("malloc", "malloc(): corrupted top size"),
            ("double-free", "free(): double free detected in tcache 2"),
            ("munmap", "munmap_chunk(): invalid pointer"),
            ("abort", "terminate called after throwing an instance of 'std::runtime_error'"),
            ("oom", f"{CORE}torch.OutOfMemoryError: CUDA out of memory."),
            ("oom-kill", "Out of memory: Killed process 4242 (VLLM::EngineCor)"),
            ("memory-error", f"{CORE}MemoryError"),
            ("cuda", f"{CORE}torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
            ("nccl", f"{CORE}ncclInternalError: Internal check failed."),
            ("tcmalloc", "src/tcmalloc.cc:302] Attempt to free invalid pointer 0x55d0"),
            ("illegal-instruction", "Fatal Python error: Illegal instruction"),
            ("undefined-symbol", "python: symbol lookup error: libtorch.so: undefined symbol: _Z1fv"),
        )
    ),
)


def _plan(*path: str, value: object) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        at = draft.plan
        for key in path[:-1]:
            at = at[key]
        if at.get(path[-1]) == value:
            raise NotApplicable
        at[path[-1]] = value

    return alter


def _no_phase(draft: Draft) -> None:
    draft.plan["scenario"]["phases"].pop()


def _other_phase(draft: Draft) -> None:
    draft.plan["scenario"]["phases"][-1]["requests"] += 10


def _no_faults(draft: Draft) -> None:
    if not draft.plan["scenario"]["faults"]:
        raise NotApplicable
    draft.plan["scenario"]["faults"] = []


def _without_expectation(draft: Draft) -> None:
    if not draft.plan["expectation"]["fail"]:
        raise NotApplicable
    draft.plan["expectation"]["fail"] = []


PLAN: Table = (
    ("phase-lost", "the plan has a phase less", ("outcomes", UNKNOWN, REFUSED), _no_phase),
    ("requests", "a phase was to send ten requests more", ("outcomes", UNKNOWN), _other_phase),
    ("faults-lost", "the plan has no faults", ("faults-fired", REFUSED), _no_faults),
    (
        "no-expectation",
        "no failure is expected where one came",
        ("server-alive", "outcomes", "accounting", "answers", "logs", "progress", "counters"),
        _without_expectation,
    ),
    (
        "expects",
        "a failure is expected that did not come",
        ("counters", "server-alive", REFUSED),
        _plan("expectation", "fail", value=["server-alive/died"]),
    ),
    (
        "offload-off",
        "the plan says that nothing is offloaded",
        ("offload-used", "accounting", REFUSED, UNKNOWN),
        _plan("scenario", "server", "offload", value=False),
    ),
    (
        "release",
        "the plan names a release that is none",
        (REFUSED, UNKNOWN),
        _plan("versions", "vllm", value="new"),
    ),
    ("odd", "the plan has an unknown key", (REFUSED,), _plan("mood", value="good")),
    (
        "token-bytes",
        "a token takes twice the bytes",
        ("accounting",),
        lambda draft: _plan("kv_token_bytes", value=(draft.plan.get("kv_token_bytes") or 512) * 2)(draft),
    ),
)


def _failing(draft: Draft) -> None:
    """Every second scrape of the run fails."""
    for scrape in draft.scrapes[5:-5:2]:
        scrape.line.update(error="timed out", incarnation=None)


def _no_scrapes(draft: Draft) -> None:
    draft.scrapes[:] = []


def _half_scrapes(draft: Draft) -> None:
    draft.scrapes[len(draft.scrapes) // 2 :] = []


def _skewed(draft: Draft) -> None:
    for scrape in draft.scrapes:
        scrape.line["t_ns"] += 30 * SECOND_NS


def _other_start(draft: Draft) -> None:
    for scrape in draft.scrapes[-5:]:
        if scrape.line["incarnation"] is not None:
            scrape.line["incarnation"] += 1.0


SCRAPES: Table = (
    ("fail", "every second scrape fails", (UNKNOWN, "counters", "progress"), _failing),
    ("lost", "there is no scrape", (UNKNOWN,), _no_scrapes),
    ("cut", "the scrapes end in the middle of the run", (UNKNOWN,), _half_scrapes),
    ("skewed", "the clock of the scrapes is 30 s off", (UNKNOWN,), _skewed),
    ("other-start", "the server is another at the end", ("counters/unexplained-restart",), _other_start),
)


def _kinds() -> Iterator[Kind]:
    tables: dict[str, Table] = {
        "events": EVENTS,
        "faults": FAULTS,
        "ledger": LEDGER,
        "log": LOG,
        "plan": PLAN,
        "scrapes": SCRAPES,
    }
    for part, table in tables.items():
        for name, what, expects, alter in table:
            yield Kind(f"{part}/{name}", what, expects, alter)


KINDS = tuple(_kinds())
