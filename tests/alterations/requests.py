"""Kinds that alter the records of requests."""

from __future__ import annotations

from collections.abc import Callable

from tests.alterations.draft import Draft, Record
from tests.alterations.kind import REFUSED, UNKNOWN, NotApplicable, Table

SECOND_NS = 1_000_000_000
SECOND_US = 1_000_000


def answered(draft: Draft) -> Record:
    """The last request with a whole answer of some tokens."""
    found = [
        record
        for record in draft.requests()
        if record["outcome"] == "ok" and len(record["token_ids"]) > 3 and record["phase"] != "probe"
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


def _stalls(record: Record) -> None:
    """Between its first two tokens; it ends when it did."""
    first, *later = record["chunk_us"]
    record.update(
        start_ns=record["start_ns"] - 60 * SECOND_NS,
        chunk_us=[first, *(us + 60 * SECOND_US for us in later)],
        end_us=record["end_us"] + 60 * SECOND_US,
    )


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


REQUESTS: Table = (
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
        _change(_stalls),
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
        ("accounting", "outcomes/partial-block"),
        _change(lambda r: r["usage"].update(cached_tokens=r["prompt_tokens"])),
    ),
    (
        "cached-odd",
        "the cached tokens are no multiple of a block",
        ("outcomes/partial-block",),
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
    ("aborted", "a client leaves where nobody does", ("outcomes", "accounting", UNKNOWN), _leaves),
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
