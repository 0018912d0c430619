"""The Locust user: sends one request after the other and shows Locust what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import gevent
from gevent.pool import Group
from locust import User, constant, task
from locust.exception import StopUser

from history.records import RequestRecord
from loadtests.client import CompletionClient
from loadtests.job import Job
from loadtests.load import Load

REFUSED_PAUSE_S = 0.05


class RequestHook(Protocol):
    """Locust's event of an ended request."""

    def fire(self, **row: object) -> None: ...


class RequestFailed(Exception):
    """Stands in Locust's failure table, by class of failure."""


class CompletionUser(User):
    """Sends one request after the other, each as soon as the load says, until it has none left."""

    wait_time = constant(0)
    client: ClassVar[CompletionClient | None] = None
    load: ClassVar[Load | None] = None

    @task
    def ask(self) -> None:
        if self.client is None or self.load is None:
            raise StopUser
        turn = self.load.take()
        if turn is None:
            raise StopUser
        while turn is not None:
            ends = self._send(turn.jobs, self.client, self.load)
            if any(end.without_response for end in ends):
                # A server that is down must not be asked as fast as a processor can.
                gevent.sleep(REFUSED_PAUSE_S)
            turn = self.load.follow(turn, [end.record for end in ends if end.record is not None])

    def _send(self, jobs: Sequence[Job], client: CompletionClient, load: Load) -> list[_End]:
        """Send requests at once and see them all to their end."""
        ends = [_End(load, self.environment.events.request) for _ in jobs]
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
    """Takes the end of one request to the load's records, then to Locust's tables."""

    def __init__(self, load: Load, hook: RequestHook) -> None:
        self._load = load
        self._hook = hook
        self.without_response = False
        self.record: RequestRecord | None = None

    def tokens(self, count: int) -> None:
        self._load.tokens(count)

    def ended(self, record: RequestRecord) -> None:
        self.without_response = record.outcome == "error" and record.status is None
        self.record = record
        self._load.ended(record)
        show(record, self._hook)


def show(record: RequestRecord, hook: RequestHook) -> None:
    """Fire Locust's request events: rows TTFT, ITL and total in ms, tokens as a count."""
    tokens = sum(record.chunk_tokens)
    error = None if record.outcome in ("ok", "aborted") else RequestFailed(_kind(record))
    rows: dict[str, float] = {"total (ms)": record.end_us / 1000, "tokens (count)": tokens}
    if record.first_us is not None:
        rows["TTFT (ms)"] = record.first_us / 1000
    itl = mean_itl_ms(record)
    if itl is not None:
        rows["ITL, mean of a request (ms)"] = itl
    for name, value in rows.items():
        hook.fire(
            request_type=record.phase,
            name=name,
            response_time=value,
            response_length=tokens,
            exception=error if name == "total (ms)" else None,
            context={},
        )


def _kind(record: RequestRecord) -> str:
    return record.outcome if record.error is None else record.error.kind


def mean_itl_ms(record: RequestRecord) -> float | None:
    """Mean time between tokens after the first event, ms; None when no token came after it."""
    later = sum(record.chunk_tokens[1:])
    if not later:
        return None
    return (record.chunk_us[-1] - record.chunk_us[0]) / later / 1000
