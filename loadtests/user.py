"""The Locust user: sends one request after the other, and shows each result in Locust's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import gevent
from gevent.pool import Group
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from history.latency import e2el_ms, tpot_ms, ttft_ms
from history.records import RequestRecord
from loadtests.clients.completion_clients import CompletionClient
from loadtests.clients.completion_request import Job
from loadtests.dispatcher import Dispatcher

REFUSED_PAUSE_S = 0.05
E2EL, TTFT, TPOT, TOKENS = "E2EL (ms)", "TTFT (ms)", "TPOT (ms)", "tokens (count)"
"""Names of the rows."""


class CompletionUser(User):
    """Sends one request after the other, each when the dispatcher hands it out, until none is left."""

    wait_time = constant(0)
    client: ClassVar[CompletionClient | None] = None
    dispatcher: ClassVar[Dispatcher | None] = None

    @task
    def send_dispatches(self) -> None:
        """Send conversations until the dispatcher has no more."""
        if self.client is None or self.dispatcher is None:
            raise StopUser
        dispatch = self.dispatcher.take()
        if dispatch is None:
            raise StopUser
        while dispatch is not None:
            ends = self._send(dispatch.jobs, self.client, self.dispatcher)
            if any(end.without_response for end in ends):
                # Do not retry against a server that is down as fast as the CPU allows.
                gevent.sleep(REFUSED_PAUSE_S)
            dispatch = self.dispatcher.follow(
                dispatch, [end.record for end in ends if end.record is not None]
            )

    def _send(self, jobs: Sequence[Job], client: CompletionClient, dispatcher: Dispatcher) -> list[_End]:
        """Send requests concurrently and wait for all ends."""
        ends = [_End(dispatcher, self.environment) for _ in jobs]
        if len(jobs) == 1:
            client.complete(jobs[0], ends[0])
            return ends
        group = Group()
        try:
            for job, end in zip(jobs, ends, strict=True):
                group.spawn(client.complete, job, end)
            group.join()
        finally:
            # Empty unless this greenlet was killed; those killed with it record their end.
            group.kill()
        return ends


class _End:
    """Passes the end of one request to the dispatcher's records, then to Locust's tables."""

    def __init__(self, dispatcher: Dispatcher, environment: Environment) -> None:
        self._dispatcher = dispatcher
        self._environment = environment
        # Without a step in between: it is called for nearly every event.
        self.tokens = dispatcher.counters.add_tokens
        self.without_response = False
        self.record: RequestRecord | None = None

    def ended(self, record: RequestRecord) -> None:
        self.without_response = record.outcome == "error" and record.status is None
        self.record = record
        self._dispatcher.ended(record)
        show(record, self._environment)


class RequestHook(Protocol):
    """Locust's event of an ended request, as typed as it is used here."""

    def fire(self, **row: object) -> None:
        """Report one row to Locust."""


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
