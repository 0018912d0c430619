"""The Locust user: sends one request after the other and reports the results to Locust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import gevent
from gevent.pool import Group
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from history.records import RequestRecord
from loadtests.clients.completion_clients import CompletionClient
from loadtests.clients.completion_request import Job
from loadtests.dispatcher import Dispatcher
from loadtests.locust_rows import show

REFUSED_PAUSE_S = 0.05


class CompletionUser(User):
    """Sends one request after the other, each when the dispatcher hands it out, until none is left."""

    wait_time = constant(0)
    client: ClassVar[CompletionClient | None] = None
    dispatcher: ClassVar[Dispatcher | None] = None

    @task
    def send_dispatches(self) -> None:
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
