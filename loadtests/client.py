"""One streaming completion through the openai client, told as one record."""

from __future__ import annotations

import hashlib
import json
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import gevent
import httpx2
import openai

from history.records import Outcome, RequestError, RequestRecord
from loadtests.chunks import Answer, Chunk, MalformedChunk
from loadtests.stream import ChunkStream
from loadtests.target import loopback_url
from loadtests.workloads.prompt import Prompt, Sampling

SERVED_MODEL = "tiny"
"""Name under which the server under test serves its model."""
IDLE_CONNECTION_S = 2.0
"""The server closes a connection after 5 s of idleness; ours are given up well before."""
DRAIN_S = 1.0
"""For the end of a body behind its last event; a connection that takes longer is closed."""
LONGEST_MESSAGE = 500
TO_SEE_A_GAP = 2
"""Alternatives that a server has to tell."""
CLIENT_FAULT = RequestError(
    kind="ClientFault", status=None, message="the load client itself failed; the log of the load tells how"
)


@dataclass(frozen=True, slots=True)
class Job:
    """One request to be sent."""

    id: str
    prompt: Prompt
    phase: str
    worker: int
    intended_ns: int
    held: bool = False
    """It was due before anybody was free to send it."""


class Abandoned(Exception):
    """The time has come at which this request was to be given up."""


class Sink(Protocol):
    """Who is told about a request's life."""

    def tokens(self, count: int) -> None:
        """So many tokens arrived just now."""

    def ended(self, record: RequestRecord) -> None:
        """The request is over. Called exactly once for each request, whatever its end."""


class CompletionClient:
    """Sends completions to one server. Greenlets may share it.

    Raises ValueError when the address is not on this machine.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        deadline_s: float,
        block_size: int | None = None,
        *,
        with_gaps: bool = False,
    ) -> None:
        """`block_size` is the server's, tokens; None when the records need not tell of first blocks.
        `with_gaps`: they tell how near the next likeliest tokens were."""
        self._block_size = block_size
        self._with_gaps = with_gaps
        self._model = model
        self._deadline_s = deadline_s
        self._api = openai.OpenAI(
            base_url=f"{loopback_url(base_url)}/v1",
            api_key="none",
            # A retry inside the client would be a request that no record tells of.
            max_retries=0,
            http_client=openai.DefaultHttpxClient(
                timeout=None,
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=IDLE_CONNECTION_S),
                # A proxy from the environment has no say about this machine.
                trust_env=False,
            ),
        )
        # The client asks child processes what machine this is, once; not within the first request.
        self._api.platform_headers()

    def close(self) -> None:
        self._api.close()

    def complete(self, job: Job, sink: Sink) -> None:
        """Send one request and see it through to its end, within the deadline.

        The end goes to the sink as a record. A kill of the greenlet is recorded, then passed on.
        """
        first_block = _first_block(job.prompt.token_ids, self._block_size)
        attempt = _Attempt(job, first_block, Answer(job.prompt.sampling.n, with_gaps=self._with_gaps))
        deadline = gevent.Timeout(self._deadline_s)
        patience_s = job.prompt.abort.after_s if job.prompt.abort else None
        try:
            # A timeout of None never fires.
            with deadline, gevent.Timeout(patience_s, Abandoned):
                self._send(attempt, sink)
            attempt.end_of_stream()
        except Abandoned:
            attempt.abort("Abandoned", f"given up on purpose after {attempt.answer.tokens} tokens")
        except gevent.Timeout as fired:
            if fired is not deadline:
                raise
            attempt.fail("DeadlineExceeded", f"no complete answer within {self._deadline_s:g} s")
        except gevent.GreenletExit:
            attempt.abort("StoppedEarly", "the load was stopped before the answer was complete")
            raise
        except openai.APIStatusError as error:
            attempt.status = error.status_code
            attempt.fail(type(error).__name__, _body_message(error))
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            attempt.fail(type(cause).__name__, str(cause))
        except openai.APIError as error:
            attempt.fail("ErrorEvent", _body_message(error))
        except httpx2.RequestError as error:
            attempt.fail(type(error).__name__, str(error))
        except (MalformedChunk, json.JSONDecodeError, UnicodeDecodeError) as error:
            attempt.fail("MalformedChunk", str(error))
        finally:
            sink.ended(attempt.record())

    def _send(self, attempt: _Attempt, sink: Sink) -> None:
        if attempt.job.prompt.sampling.prompt_logprobs is None:
            self._stream(attempt, sink)
        else:
            self._whole(attempt, sink)

    def _whole(self, attempt: _Attempt, sink: Sink) -> None:
        """An answer in one piece."""
        response = self._api.post(
            "/completions",
            cast_to=httpx2.Response,
            body=self._body(attempt.job.prompt),
            options={"headers": {"X-Request-Id": attempt.job.id}},
        )
        attempt.status = response.status_code
        sink.tokens(attempt.answer.add(response.json(), attempt.elapsed_us()))

    def _stream(self, attempt: _Attempt, sink: Sink) -> None:
        abort = attempt.job.prompt.abort
        leave_after = abort.after_tokens if abort else None
        with self._api.post(
            "/completions",
            cast_to=Chunk,
            body=self._body(attempt.job.prompt),
            options={"headers": {"X-Request-Id": attempt.job.id}},
            stream=True,
            stream_cls=ChunkStream,
        ) as stream:
            attempt.status = stream.response.status_code
            for chunk in stream:
                count = attempt.answer.take(chunk, attempt.elapsed_us())
                if count:
                    sink.tokens(count)
                if leave_after is not None and attempt.answer.tokens >= leave_after:
                    raise Abandoned
            attempt.end_of_stream()
            gevent.with_timeout(DRAIN_S, stream.drain, timeout_value=None)

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body = {
            "model": self._model,
            "prompt": list(prompt.token_ids),
            "max_tokens": prompt.max_tokens,
            "ignore_eos": True,
            "return_token_ids": True,
            **_parameters(prompt.sampling),
        }
        if self._with_gaps:
            body["logprobs"] = max(prompt.sampling.logprobs, TO_SEE_A_GAP)
            # By their text, two tokens that are no characters would be one.
            body["return_tokens_as_token_ids"] = True
        return body


@dataclass(slots=True)
class _Attempt:
    """A request under way. Until its end is known, that end is `unknown` and our own fault."""

    job: Job
    first_block: str | None
    answer: Answer
    status: int | None = None
    outcome: Outcome = "unknown"
    error: RequestError | None = CLIENT_FAULT
    start_ns: int = field(default_factory=time.time_ns)
    start_mono_ns: int = field(default_factory=time.monotonic_ns)
    end_us: int | None = None
    """Once it has ended. What happens behind that changes nothing more."""

    def elapsed_us(self) -> int:
        return (time.monotonic_ns() - self.start_mono_ns) // 1000

    def end_of_stream(self) -> None:
        """The server closed the stream tidily; was that a whole answer?"""
        if self.end_us is not None:
            return
        missing = self.answer.missing()
        if missing:
            self.fail("TruncatedStream", f"the stream ended without {' and '.join(missing)}")
        else:
            self.outcome, self.error, self.end_us = "ok", None, self.elapsed_us()

    def fail(self, kind: str, message: str) -> None:
        self._end("error", kind, message)

    def abort(self, kind: str, message: str) -> None:
        self._end("aborted", kind, message)

    def _end(self, outcome: Outcome, kind: str, message: str) -> None:
        if self.end_us is not None:
            return
        self.outcome, self.end_us = outcome, self.elapsed_us()
        self.error = RequestError(kind=kind, status=self.status, message=message[:LONGEST_MESSAGE])

    def record(self) -> RequestRecord:
        job, answer = self.job, self.answer
        return RequestRecord(
            id=job.id,
            prompt_id=job.prompt.prompt_id,
            phase=job.phase,
            worker=job.worker,
            prompt_tokens=len(job.prompt.token_ids),
            max_tokens=job.prompt.max_tokens,
            intended_ns=job.intended_ns,
            start_ns=self.start_ns,
            start_mono_ns=self.start_mono_ns,
            end_us=self.elapsed_us() if self.end_us is None else self.end_us,
            first_us=answer.first_us,
            chunk_us=answer.chunk_us,
            chunk_tokens=answer.chunk_tokens,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            gaps=answer.gaps,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
            status=self.status,
            outcome=self.outcome,
            error=self.error,
            choices=job.prompt.sampling.n,
            held=job.held,
            first_block=self.first_block,
        )


def _first_block(tokens: Sequence[int], size: int | None) -> str | None:
    if size is None or len(tokens) < size:
        return None
    return hashlib.blake2b(array("q", tokens[:size]).tobytes(), digest_size=6).hexdigest()


def _parameters(sampling: Sampling) -> dict[str, Any]:
    """The API's names for them. What is left at its default there is not sent."""
    parameters: dict[str, Any] = {"temperature": sampling.temperature, "logprobs": sampling.logprobs}
    if sampling.seed is not None:
        parameters["seed"] = sampling.seed
    if sampling.prompt_logprobs is None:
        parameters |= {"stream": True, "stream_options": {"include_usage": True}}
    else:
        parameters["prompt_logprobs"] = sampling.prompt_logprobs
    if sampling.n > 1:
        parameters["n"] = sampling.n
    for name in ("top_k", "stop", "stop_token_ids", "priority", "cache_salt"):
        value = getattr(sampling, name)
        if value:
            parameters[name] = value
    return parameters


def _body_message(error: openai.APIError) -> str:
    """The server's own words where it gave any."""
    if isinstance(error.body, dict) and isinstance(error.body.get("message"), str):
        return str(error.body["message"])
    return error.message
