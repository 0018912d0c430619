"""Probes: one tiny completion that shows whether the server really answers, beyond /health."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from history import events, layout
from history.jsonl import LineWriter
from history.records import PROBE, TRUNCATED_STREAM, Outcome, RequestError, RequestRecord
from kvchaos.conductor import server_state
from kvchaos.conductor.event_log import EventLog
from loadtests.clients.event_decoder import MalformedChunk
from loadtests.clients.in_flight_request import StreamedResponse

PROMPT = (1, 2, 3, 4)
"""Shorter than a block, so that it leaves nothing in any cache."""
MAX_TOKENS = 1


class BadAnswer(Exception):
    """The response is not a completion. Stored records have the name of this class as kind of the error."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The outcome of one probe."""

    request: str
    ok: bool
    seconds: float
    error: str | None


class ProbeClient:
    """Sends probes and writes a record of each, so that the accounting of tokens includes them."""

    def __init__(self, base_url: str, model: str, run_dir: Path) -> None:
        self._model = model
        address = urlsplit(base_url)
        self._host, self._port = address.hostname or "", address.port
        self._writer = LineWriter(run_dir / layout.requests_file(PROBE))
        self._sent = 0

    def send(self, deadline_s: float) -> ProbeResult:
        """Send one and wait for its end, at most so long. Raises OSError when the record is not written."""
        request = f"{PROBE}-{self._sent}"
        self._sent += 1
        start_ns, start_mono_ns = time.time_ns(), time.monotonic_ns()
        answer = StreamedResponse()
        status, failure = self._request(request, answer, start_mono_ns, deadline_s)
        end_us = (time.monotonic_ns() - start_mono_ns) // 1000
        if failure is None and answer.missing():
            failure = (TRUNCATED_STREAM, f"the stream ended without {' and '.join(answer.missing())}")
        outcome: Outcome = "ok" if failure is None else "error"
        self._writer.write(
            RequestRecord(
                id=request,
                prompt_id=PROBE,
                phase=PROBE,
                worker=0,
                prompt_tokens=len(PROMPT),
                max_tokens=MAX_TOKENS,
                scheduled_ns=start_ns,
                start_ns=start_ns,
                start_mono_ns=start_mono_ns,
                end_us=end_us,
                first_us=answer.first_us,
                chunk_us=answer.chunk_us,
                chunk_tokens=answer.chunk_tokens,
                token_ids=answer.token_ids,
                logprobs=answer.logprobs,
                usage=answer.usage,
                finish_reason=answer.finish_reason,
                status=status,
                outcome=outcome,
                error=failure and RequestError(kind=failure[0], status=status, message=failure[1][:500]),
            )
        )
        return ProbeResult(request, failure is None, end_us / 1e6, failure and ": ".join(failure))

    def close(self) -> None:
        """Close the file of records."""
        self._writer.close()

    def _request(
        self, request: str, answer: StreamedResponse, start_mono_ns: int, deadline_s: float
    ) -> tuple[int | None, tuple[str, str] | None]:
        """HTTP status, and kind and message of the failure if there was one."""
        status: int | None = None
        connection = http.client.HTTPConnection(self._host, self._port, timeout=deadline_s)
        try:
            connection.request("POST", "/v1/completions", _body(self._model), _headers(request))
            response = connection.getresponse()
            status = response.status
            if status != http.HTTPStatus.OK:
                raise BadAnswer(response.read(500).decode("utf-8", "replace"))
            for event in _events(response):
                at_us = (time.monotonic_ns() - start_mono_ns) // 1000
                if at_us > deadline_s * 1e6:
                    raise TimeoutError(f"no complete answer within {deadline_s:g} s")
                answer.add(event, at_us)
        except (OSError, http.client.HTTPException, BadAnswer, MalformedChunk, ValueError) as error:
            return status, (type(error).__name__, str(error))
        finally:
            connection.close()
        return status, None


def _events(response: http.client.HTTPResponse) -> Iterator[object]:
    """The decoded events of a server-sent event stream, up to its end mark."""
    for line in response:
        field, _, value = line.decode("utf-8").rstrip("\r\n").partition(": ")
        if field != "data":
            continue
        if value == "[DONE]":
            return
        event = json.loads(value)
        if isinstance(event, dict) and "error" in event:
            raise BadAnswer(json.dumps(event["error"]))
        yield event


def _headers(request: str) -> dict[str, str]:
    return {"Content-Type": "application/json", "X-Request-Id": request}


def _body(model: str) -> str:
    return json.dumps(
        {
            "model": model,
            "prompt": list(PROMPT),
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
            "logprobs": 1,
            "ignore_eos": True,
            "return_token_ids": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )


SHORT_DEADLINE_S = 5.0
"""Deadline of a probe that is sent while load runs and must be monitored."""


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
        """Close its client."""
        self._client.close()
