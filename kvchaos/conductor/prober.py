"""Probes the server: sends a synthetic completion, checks /health, and records both as events."""

from __future__ import annotations

from http import HTTPStatus

from history import events
from kvchaos.conductor import server_state
from kvchaos.conductor.event_log import EventLog
from kvchaos.conductor.probe_client import ProbeClient

SHORT_DEADLINE_S = 5.0
"""Of a probe that is sent while load runs and has to be monitored."""


class Prober:
    """Sends probes to one server. Raises OSError when a result cannot be written."""

    def __init__(self, base_url: str, client: ProbeClient, event_log: EventLog) -> None:
        self._base_url = base_url
        self._client = client
        self._events = event_log

    def probe(self, where: str, deadline_s: float = SHORT_DEADLINE_S) -> bool:
        """Send one probe and wait for its end, at most `deadline_s`. Returns whether it was answered.

        `where` names the moment of the run in the events.
        """
        result = self._client.send(deadline_s)
        status = server_state.health(self._base_url)
        self._events.write(
            events.ProbeSent(
                where=where,
                ok=result.ok,
                seconds=result.seconds,
                request=result.request,
                error=result.error,
            )
        )
        self._events.write(events.HealthChecked(where=where, ok=status == HTTPStatus.OK, status=status))
        return result.ok

    def close(self) -> None:
        self._client.close()
