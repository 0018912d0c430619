"""The rows of Locust's tables for a request."""

from __future__ import annotations

from typing import Any, Protocol

from locust.env import Environment

from history.latency import e2el_ms, tpot_ms, ttft_ms
from history.records import RequestRecord

E2EL, TTFT, TPOT, TOKENS = "E2EL (ms)", "TTFT (ms)", "TPOT (ms)", "tokens (count)"


class RequestHook(Protocol):
    """Locust's event of an ended request, as typed as it is used here."""

    def fire(self, **row: object) -> None: ...


class RequestFailed(Exception):
    """Stands in Locust's failure table, by class of failure."""


def show(record: RequestRecord, environment: Environment) -> None:
    """One request for Locust, with its E2EL; TTFT, TPOT and tokens are rows that count as no request.

    So the totals, and the charts that Locust makes of them, are of requests. Listeners of Locust's event find
    the record in the context.
    """
    hook: RequestHook = environment.events.request
    tokens = sum(record.chunk_tokens)
    hook.fire(
        request_type=record.phase,
        name=E2EL,
        response_time=e2el_ms(record),
        response_length=tokens,
        exception=None if record.outcome in ("ok", "aborted") else RequestFailed(_kind(record)),
        context={"record": record},
    )
    rows: dict[str, float | None] = {
        TTFT: ttft_ms(record),
        TPOT: tpot_ms(record),
        TOKENS: tokens,
    }
    for name, value in rows.items():
        if value is not None:
            # Locust's types speak of whole milliseconds; its tables take parts of them, as from its events.
            row: Any = environment.stats.get(name, record.phase)
            row.log(value, tokens)


def _kind(record: RequestRecord) -> str:
    return record.outcome if record.error is None else record.error.kind
