"""What Locust's tables show of a request."""

from __future__ import annotations

from typing import Any, Protocol

from locust.env import Environment

from history.records import RequestRecord

TOTAL, TTFT, ITL, TOKENS = "total (ms)", "TTFT (ms)", "ITL, mean of a request (ms)", "tokens (count)"


class RequestHook(Protocol):
    """Locust's event of an ended request, as typed as it is used here."""

    def fire(self, **row: object) -> None: ...


class RequestFailed(Exception):
    """Stands in Locust's failure table, by class of failure."""


def show(record: RequestRecord, environment: Environment) -> None:
    """One request for Locust, with its total time; TTFT, ITL and tokens are rows that count as no request.

    So the totals, and the charts that Locust makes of them, are of requests. Listeners of Locust's event find
    the record in the context.
    """
    hook: RequestHook = environment.events.request
    tokens = sum(record.chunk_tokens)
    hook.fire(
        request_type=record.phase,
        name=TOTAL,
        response_time=record.end_us / 1000,
        response_length=tokens,
        exception=None if record.outcome in ("ok", "aborted") else RequestFailed(_kind(record)),
        context={"record": record},
    )
    rows: dict[str, float | None] = {
        TTFT: None if record.first_us is None else record.first_us / 1000,
        ITL: mean_itl_ms(record),
        TOKENS: tokens,
    }
    for name, value in rows.items():
        if value is not None:
            # Locust's types speak of whole milliseconds; its tables take parts of them, as from its events.
            row: Any = environment.stats.get(name, record.phase)
            row.log(value, tokens)


def mean_itl_ms(record: RequestRecord) -> float | None:
    """Mean time between tokens after the first event, ms; None when no token came after it."""
    later = sum(record.chunk_tokens[1:])
    if not later:
        return None
    return (record.chunk_us[-1] - record.chunk_us[0]) / later / 1000


def _kind(record: RequestRecord) -> str:
    return record.outcome if record.error is None else record.error.kind
