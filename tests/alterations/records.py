"""Kinds that alter what the client recorded: requests, its own state, the server's resources."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from history import layout
from tests.alterations.draft import Draft, Record
from tests.alterations.kind import REFUSED, UNKNOWN, Kind, NotApplicable

SECOND_NS = 1_000_000_000
MIB = 1 << 20


def answered(draft: Draft) -> Record:
    """The last request with a whole answer of some tokens."""
    found = [
        record
        for record in draft.requests()
        if record["outcome"] == "ok" and len(record["token_ids"]) > 3 and record["phase"] != "canary"
    ]
    if not found:
        raise NotApplicable
    return found[-1]


def _set(field: str, value: object) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        record = answered(draft)
        if record.get(field) == value:
            raise NotApplicable
        record[field] = value

    return alter


def _change(change: Callable[[Record], object]) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        change(answered(draft))

    return alter


def _usage(field: str, by: int) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        usage = answered(draft)["usage"]
        if usage.get(field) is None:
            raise NotApplicable
        usage[field] += by

    return alter


def _file_of(draft: Draft, record: Record) -> list[Record]:
    return next(lines for lines in draft.of("requests-") if any(each is record for each in lines))


def _lost(draft: Draft) -> None:
    record = answered(draft)
    _file_of(draft, record).remove(record)


def _phase_lost(draft: Draft) -> None:
    phase = answered(draft)["phase"]
    for lines in draft.of("requests-"):
        lines[:] = [record for record in lines if record["phase"] != phase]


def _twice(draft: Draft) -> None:
    record = answered(draft)
    _file_of(draft, record).append({**record})


def _next_token(record: Record, at: int) -> None:
    record["token_ids"][at] += 1


def _without_last_token(record: Record) -> None:
    for field in ("token_ids", "logprobs", "chunk_us", "chunk_tokens"):
        record[field].pop()


def _shorter(record: Record) -> None:
    _without_last_token(record)
    record["usage"]["completion_tokens"] -= 1


def _reversed(record: Record) -> None:
    record["chunk_us"].reverse()


def _fails(kind: str, status: int | None) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        error = {"kind": kind, "status": status, "message": "it failed"}
        answered(draft).update(outcome="error", status=status, error=error)

    return alter


def _leaves(draft: Draft) -> None:
    """A client leaves in a workload in which nobody does."""
    record = answered(draft)
    record.update(outcome="aborted", finish_reason=None, usage=None)
    record["error"] = {"kind": "Abandoned", "status": None, "message": "left"}


def _all_uncached(draft: Draft) -> None:
    usages = [record["usage"] for record in draft.requests() if record["usage"]]
    if not any(usage.get("cached_tokens") for usage in usages):
        raise NotApplicable
    for usage in usages:
        usage["cached_tokens"] = 0


REQUESTS: tuple[tuple[str, str, tuple[str, ...], Callable[[Draft], None]], ...] = (
    ("lost", "a request has no record", ("outcomes/record-missing",), _lost),
    ("phase-lost", "no request of a phase has a record", ("outcomes/record-missing", UNKNOWN), _phase_lost),
    ("twice", "a request has two records", ("outcomes/duplicate-record",), _twice),
    (
        "first-token",
        "the first token is another",
        ("answers",),
        _change(lambda record: _next_token(record, 0)),
    ),
    (
        "last-token",
        "the last token is another",
        ("answers",),
        _change(lambda record: _next_token(record, -1)),
    ),
    (
        "middle-token",
        "a token in the middle is another",
        ("answers",),
        _change(lambda record: _next_token(record, 2)),
    ),
    (
        "logprob",
        "a logprob is another",
        ("answers",),
        _change(lambda r: r["logprobs"].__setitem__(1, r["logprobs"][1] - 0.25)),
    ),
    (
        "logprob-positive",
        "a logprob is above 0",
        ("outcomes/logprobs",),
        _change(lambda r: r["logprobs"].__setitem__(0, 0.5)),
    ),
    ("logprob-lost", "a logprob is missing", ("outcomes",), _change(lambda r: r["logprobs"].pop())),
    ("token-lost", "the last token is missing", ("outcomes",), _change(_without_last_token)),
    (
        "shorter",
        "an answer ends a token too early everywhere",
        ("outcomes/too-few-tokens",),
        _change(_shorter),
    ),
    (
        "empty",
        "an answer has no token",
        ("outcomes",),
        _change(lambda r: r.update(token_ids=[], logprobs=[], chunk_us=[], chunk_tokens=[])),
    ),
    ("order", "events come in the wrong order", ("outcomes/stream-inconsistent",), _change(_reversed)),
    (
        "chunk-tokens",
        "an event has a token more",
        ("outcomes",),
        _change(lambda r: r["chunk_tokens"].__setitem__(0, 2)),
    ),
    (
        "first-later",
        "the first token comes after the second",
        ("outcomes", "performance", UNKNOWN),
        _change(lambda r: r.update(first_us=r["chunk_us"][1] + 1)),
    ),
    (
        "end-early",
        "the end lies before the last event",
        ("outcomes", "performance", UNKNOWN),
        _change(lambda r: r.update(end_us=r["chunk_us"][0] - 1)),
    ),
    (
        "frozen",
        "an answer stands still for 60 s",
        ("progress", "performance"),
        _change(
            lambda r: r.update(
                end_us=r["end_us"] + 60_000_000,
                chunk_us=[*r["chunk_us"][:-1], r["chunk_us"][-1] + 60_000_000],
            )
        ),
    ),
    ("status-500", "a good answer has status 500", ("outcomes/inconsistent-status",), _set("status", 500)),
    ("status-none", "a good answer has no status", ("outcomes",), _set("status", None)),
    ("finish-error", "an answer ends by error", ("outcomes/finish-reason",), _set("finish_reason", "error")),
    (
        "finish-stop",
        "an answer of full length ends by stop",
        ("outcomes/finish-reason", "accounting"),
        _set("finish_reason", "stop"),
    ),
    ("finish-none", "an answer ends for no reason", ("outcomes",), _set("finish_reason", None)),
    ("finish-abort", "an answer ends by abort", ("outcomes/finish-reason",), _set("finish_reason", "abort")),
    (
        "max-tokens",
        "an answer has a token more than requested",
        ("outcomes/too-many-tokens",),
        _change(lambda r: r.update(max_tokens=len(r["token_ids"]) - 1)),
    ),
    (
        "more-requested",
        "an answer ends for length a token too early",
        ("outcomes/too-few-tokens",),
        _change(lambda r: r.update(max_tokens=r["max_tokens"] + 1)),
    ),
    (
        "prompt-tokens",
        "a prompt has a token more than sent",
        ("outcomes/prompt-tokens",),
        _usage("prompt_tokens", 1),
    ),
    (
        "prompt-tokens-both",
        "a prompt is longer by both counts",
        ("accounting/prompt-tokens",),
        _change(
            lambda r: (
                r.update(prompt_tokens=r["prompt_tokens"] + 16),
                r["usage"].update(prompt_tokens=r["usage"]["prompt_tokens"] + 16),
            )
        ),
    ),
    (
        "completion-tokens",
        "usage counts a token more",
        ("outcomes/completion-tokens",),
        _usage("completion_tokens", 1),
    ),
    ("usage-lost", "an answer has no usage", ("outcomes/usage-missing",), _set("usage", None)),
    (
        "cached-negative",
        "fewer than 0 tokens are cached",
        ("accounting/usage-cached-tokens-range",),
        _change(lambda r: r["usage"].update(cached_tokens=-16)),
    ),
    (
        "cached-more",
        "more tokens are cached than the prompt has",
        ("accounting/usage-cached-tokens-range",),
        _change(lambda r: r["usage"].update(cached_tokens=r["prompt_tokens"] + 16)),
    ),
    (
        "cached-whole",
        "the whole prompt is cached",
        ("accounting",),
        _change(lambda r: r["usage"].update(cached_tokens=r["prompt_tokens"])),
    ),
    (
        "cached-odd",
        "the cached tokens are no multiple of a block",
        ("accounting",),
        _change(lambda r: r["usage"].update(cached_tokens=17)),
    ),
    (
        "cached-lost",
        "one answer does not say what was cached",
        ("accounting", UNKNOWN),
        _change(lambda r: r["usage"].update(cached_tokens=None)),
    ),
    ("cached-none", "no answer found anything cached", ("accounting",), _all_uncached),
    (
        "reset",
        "the connection is reset",
        ("outcomes/request-failed", "outcomes/truncated-stream"),
        _fails("ConnectionResetError", None),
    ),
    ("http-500", "a request fails with status 500", ("outcomes/request-failed",), _fails("HTTPStatus", 500)),
    ("http-503", "a request fails with status 503", ("outcomes/request-failed",), _fails("HTTPStatus", 503)),
    ("truncated", "a stream ends too early", ("outcomes/truncated-stream",), _fails("TruncatedStream", 200)),
    ("error-event", "a stream holds an error", ("outcomes",), _fails("ErrorEvent", 200)),
    (
        "deadline",
        "a request runs into its deadline",
        ("progress/deadline",),
        _fails("DeadlineExceeded", None),
    ),
    ("aborted", "a client leaves where nobody does", ("outcomes", "accounting"), _leaves),
    ("outcome-unknown", "the end of a request is unknown", (UNKNOWN,), _set("outcome", "unknown")),
    ("outcome-odd", "the outcome is none", (REFUSED,), _set("outcome", "fine")),
    ("no-field", "a field is missing", (REFUSED,), _change(lambda r: r.pop("token_ids"))),
    ("more-field", "a field is unknown", (REFUSED,), _set("mood", "good")),
    ("phase", "a request is of another phase", ("outcomes", "accounting"), _set("phase", "golden")),
    ("phase-odd", "a request is of no phase", ("outcomes", UNKNOWN), _set("phase", "nowhere")),
    (
        "prompt",
        "an answer is to another prompt",
        ("answers",),
        lambda draft: answered(draft).update(
            prompt_id=next(
                (
                    r["prompt_id"]
                    for r in draft.requests()
                    if r["phase"] == "golden" and r["prompt_id"] != answered(draft)["prompt_id"]
                ),
                "none",
            )
        ),
    ),
    (
        "start-later",
        "a request starts after its phase",
        ("outcomes", "progress", UNKNOWN),
        _change(lambda r: r.update(start_ns=r["start_ns"] + 600 * SECOND_NS)),
    ),
)


def _all_of(name: str, change: Callable[[list[Record]], object]) -> Callable[[Draft], None]:
    def alter(draft: Draft) -> None:
        if not draft.lines.get(name):
            raise NotApplicable
        change(draft.lines[name])

    return alter


def _last(field: str, change: Callable[[int], int]) -> Callable[[Draft], None]:
    """The last samples, those of the drained server."""

    def alter(draft: Draft) -> None:
        lines = draft.lines.get(layout.RESOURCES) or []
        if not lines:
            raise NotApplicable
        for line in lines[-2:]:
            line[field] = change(line[field])

    return alter


def _cut_phase(lines: list[Record]) -> None:
    phase = lines[-1]["phase"]
    lines[:] = [line for line in lines if line["phase"] != phase]


OTHERS: tuple[tuple[str, str, tuple[str, ...], Callable[[Draft], None]], ...] = (
    ("client/lost", "the client says nothing of itself", (UNKNOWN,), _all_of(layout.CLIENT, list.clear)),
    (
        "client/phase-lost",
        "the client says nothing of a phase",
        (UNKNOWN,),
        _all_of(layout.CLIENT, _cut_phase),
    ),
    (
        "client/slow",
        "the client was late by seconds",
        (UNKNOWN,),
        _all_of(layout.CLIENT, lambda lines: [line.update(lag_us=[5_000_000] * 17) for line in lines]),
    ),
    (
        "client/busy",
        "the client needed all of a processor",
        (UNKNOWN,),
        _all_of(layout.CLIENT, lambda lines: [line.update(cpu_us=line["wall_us"]) for line in lines]),
    ),
    (
        "client/collector",
        "the client collected garbage for seconds",
        (UNKNOWN,),
        _all_of(layout.CLIENT, lambda lines: [line.update(collector_us=[5_000_000]) for line in lines]),
    ),
    (
        "resources/lost",
        "nothing is known of the server's resources",
        (UNKNOWN,),
        _all_of(layout.RESOURCES, list.clear),
    ),
    (
        "resources/end-lost",
        "there is no sample of the end",
        (UNKNOWN,),
        _all_of(layout.RESOURCES, lambda lines: lines.__delitem__(slice(len(lines) // 2, None))),
    ),
    (
        "resources/stale",
        "all samples are an hour old",
        (UNKNOWN,),
        _all_of(
            layout.RESOURCES,
            lambda lines: [line.update(t_ns=line["t_ns"] - 3600 * SECOND_NS) for line in lines],
        ),
    ),
    (
        "resources/processes",
        "five processes are left over",
        ("resources/processes",),
        _last("processes", lambda n: n + 5),
    ),
    (
        "resources/processes-fewer",
        "a process is missing at the end",
        ("resources/processes", "server-alive"),
        _last("processes", lambda n: n - 1),
    ),
    (
        "resources/threads",
        "200 threads are left over",
        ("resources/threads",),
        _last("threads", lambda n: n + 200),
    ),
    (
        "resources/files",
        "200 files are left open",
        ("resources/open-files",),
        _last("files", lambda n: n + 200),
    ),
    (
        "resources/sockets",
        "200 sockets are left open",
        ("resources/sockets",),
        _last("sockets", lambda n: n + 200),
    ),
    (
        "resources/shared-memory",
        "64 MiB are left in /dev/shm",
        ("resources/shared-memory",),
        _last("shm_bytes", lambda n: n + 64 * MIB),
    ),
    (
        "resources/memory",
        "4 GiB more are in use at the end",
        ("resources/memory",),
        _last("anonymous_bytes", lambda n: n + 4096 * MIB),
    ),
    (
        "resources/leader",
        "the samples at the end are of another process",
        ("server-alive", "resources", UNKNOWN),
        _last("leader", lambda n: n + 1),
    ),
)


def _kinds() -> Iterator[Kind]:
    for name, what, expects, alter in REQUESTS:
        yield Kind(f"requests/{name}", what, expects, alter)
    for name, what, expects, alter in OTHERS:
        yield Kind(name, what, expects, alter)


KINDS = tuple(_kinds())
