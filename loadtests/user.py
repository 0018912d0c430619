"""The Locust user: sends one request after the other and shows Locust what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import gevent
from gevent.pool import Group
from locust import User, constant, task
from locust.env import Environment
from locust.exception import StopUser

from history.records import RequestRecord
from loadtests.clients.base import CompletionClient
from loadtests.job import Job
from loadtests.load import Load
from loadtests.rows import show

REFUSED_PAUSE_S = 0.05


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
        ends = [_End(load, self.environment) for _ in jobs]
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

    def __init__(self, load: Load, environment: Environment) -> None:
        self._load = load
        self._environment = environment
        # Without a step in between: it is called for nearly every event.
        self.tokens = load.tally.add_tokens
        self.without_response = False
        self.record: RequestRecord | None = None

    def ended(self, record: RequestRecord) -> None:
        self.without_response = record.outcome == "error" and record.status is None
        self.record = record
        self._load.ended(record)
        show(record, self._environment)
