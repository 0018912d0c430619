"""A request in flight: the response that its events add up to, and its final record."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from history.records import TRUNCATED_STREAM, Outcome, RequestError, RequestRecord, Usage, first_block_of
from loadtests.clients.completion_request import Job, Sink
from loadtests.clients.event_decoder import (
    DONE,
    Chunk,
    Event,
    MalformedChunk,
    TokenRun,
    chunk_of,
    decode,
    extend,
)
from loadtests.clients.event_fields import Choice, PromptLogprobs
from loadtests.connections.response_arrivals import Abandoned

NS_PER_US = 1000


@dataclass(slots=True)
class ChoiceSoFar:
    """One of the answers to a prompt with n above 1."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    logprob_margins: list[float] = field(default_factory=list)
    finish_reason: str | None = None


class StreamedResponse:
    """The response received so far. Times are offsets from the request's start, microseconds."""

    __slots__ = (
        "_choices",
        "_prompt",
        "_with_margins",
        "chunk_tokens",
        "chunk_us",
        "first_us",
        "prompt_logprobs",
        "usage",
    )

    def __init__(self, choices: int = 1, *, prompt: Sequence[int] = (), with_margins: bool = False) -> None:
        """`prompt`: its tokens where their logprobs were requested."""
        self._prompt = prompt
        self._with_margins = with_margins
        self.prompt_logprobs: list[float] = []
        """Logprobs of the prompt's tokens from the second on, if they were requested."""
        self.first_us: int | None = None
        self.chunk_us: list[int] = []
        self.chunk_tokens: list[int] = []
        self.usage: Usage | None = None
        self._choices = [ChoiceSoFar() for _ in range(choices)]

    @property
    def tokens(self) -> int:
        """How many have come, over all choices."""
        return sum(self.chunk_tokens)

    @property
    def token_ids(self) -> list[int]:
        """Ids of all tokens received, answer by answer."""
        return [*chain.from_iterable(choice.token_ids for choice in self._choices)]

    @property
    def logprobs(self) -> list[float]:
        """Logprobs of all tokens received, answer by answer."""
        return [*chain.from_iterable(choice.logprobs for choice in self._choices)]

    @property
    def logprob_margins(self) -> list[float]:
        """Logprob margins of all tokens; empty unless they were requested."""
        return [*chain.from_iterable(choice.logprob_margins for choice in self._choices)]

    @property
    def finish_reason(self) -> str | None:
        """Finish reason of the first answer, once all answers have one."""
        reasons = [choice.finish_reason for choice in self._choices]
        return None if None in reasons else reasons[0]

    @property
    def is_plain(self) -> bool:
        """Whether it is one answer, and only ids and logprobs of its tokens are kept."""
        return len(self._choices) == 1 and not self._with_margins

    def add(self, event: Any, at_us: int) -> int:
        """Take in one event as decoded from JSON; gives how many tokens it brought. Raises MalformedChunk."""
        return self.take(chunk_of(event), at_us)

    def take(self, chunk: Chunk, at_us: int) -> int:
        """Take in one event; returns how many tokens it has. Raises MalformedChunk."""
        if chunk.usage is not None:
            self.usage = chunk.usage.counts()
        count = 0
        for choice in chunk.choices:
            if not 0 <= choice.index < len(self._choices):
                raise MalformedChunk(f"choice {choice.index}, requested {len(self._choices)}")
            came = self._add(choice, self._choices[choice.index])
            if self.first_us is None and (came or choice.has_text):
                self.first_us = at_us
            count += came
            of_prompt = choice.prompt_logprobs or chunk.prompt_logprobs
            if choice.index == 0 and of_prompt is not None:
                self.prompt_logprobs = self._of_prompt(of_prompt)
        if count:
            self.chunk_us.append(at_us)
            self.chunk_tokens.append(count)
        return count

    def take_run(self, run: TokenRun, start_ns: int) -> int:
        """Take in events in mid-stream of a plain answer, at least one, as `take` would.

        `start_ns`: the request's start, monotonic clock. Gives how many tokens they brought.
        """
        at_us = [(arrived_ns - start_ns) // NS_PER_US for arrived_ns in run.arrived_ns]
        so_far = self._choices[0]
        so_far.token_ids += run.token_ids
        so_far.logprobs += run.logprobs
        self.chunk_us += at_us
        self.chunk_tokens += run.chunk_tokens
        if self.first_us is None:
            self.first_us = at_us[0]
        return len(run.token_ids)

    def _add(self, choice: Choice, so_far: ChoiceSoFar) -> int:
        """Take in a choice's part of an event; gives how many tokens that brought."""
        ids, reported = choice.token_ids or (), choice.logprobs
        so_far.token_ids += ids
        if choice.finish_reason is not None:
            so_far.finish_reason = choice.finish_reason
        if reported is None:
            return len(ids)
        logprobs = reported.own()
        so_far.logprobs += logprobs
        if self._with_margins:
            so_far.logprob_margins += reported.margins()
        # A server that sends no token ids still shows the count by its logprobs.
        return len(ids) or len(logprobs)

    def _of_prompt(self, reported: PromptLogprobs) -> list[float]:
        """Each own token's logprob. Raises MalformedChunk."""
        if len(reported) != len(self._prompt):
            raise MalformedChunk(f"logprobs of {len(reported)} prompt tokens, {len(self._prompt)} were sent")
        try:
            return [
                (candidates or {})[str(token)].logprob
                for token, candidates in zip(self._prompt[1:], reported[1:], strict=True)
            ]
        except KeyError as error:
            raise MalformedChunk(f"prompt token {error} has no logprob") from error

    def missing(self) -> list[str]:
        """What a complete answer would have and this one has not."""
        parts = {"finish reason": self.finish_reason, "usage": self.usage}
        absent = [name for name, value in parts.items() if value is None]
        if len(self._prompt) > 1 and not self.prompt_logprobs:
            absent.append("logprobs of the prompt")
        return absent


LONGEST_MESSAGE = 500
CLIENT_FAULT = RequestError(
    kind="ClientFault", status=None, message="the load client itself failed; loader.log has the error"
)


@dataclass(slots=True)
class InFlightRequest:
    """A request in flight. Until its end is known, its outcome is `unknown` and a client fault."""

    job: Job
    block_size: int | None
    """Tokens in a block of the server; None when the record needs no hash of the first block."""
    answer: StreamedResponse
    status: int | None = None
    outcome: Outcome = "unknown"
    error: RequestError | None = CLIENT_FAULT
    start_ns: int = field(default_factory=time.time_ns)
    start_mono_ns: int = field(default_factory=time.monotonic_ns)
    end_us: int | None = None
    """Once it has ended. What happens behind that changes nothing more."""

    @property
    def leave_after(self) -> int | None:
        """Tokens after which the client gives up on purpose; None: it does not."""
        abort = self.job.prompt.abort
        return abort.after_tokens if abort else None

    def elapsed_us(self) -> int:
        """Time since the send time, microseconds."""
        return (time.monotonic_ns() - self.start_mono_ns) // NS_PER_US

    def at_us(self, mono_ns: int) -> int:
        """A moment as offset from the start."""
        return (mono_ns - self.start_mono_ns) // NS_PER_US

    def end_of_stream(self, at_us: int) -> None:
        """The server closed the stream tidily at this offset from the start; was that a whole answer?"""
        if self.end_us is not None:
            return
        missing = self.answer.missing()
        if missing:
            self.fail(TRUNCATED_STREAM, f"the stream ended without {' and '.join(missing)}")
        else:
            self.outcome, self.error, self.end_us = "ok", None, at_us

    def fail(self, kind: str, message: str) -> None:
        """End the request as failed, unless it has already ended."""
        self._end("error", kind, message)

    def abort(self, kind: str, message: str) -> None:
        """End the request as aborted by the client, unless it has already ended."""
        self._end("aborted", kind, message)

    def _end(self, outcome: Outcome, kind: str, message: str) -> None:
        if self.end_us is not None:
            return
        self.outcome, self.end_us = outcome, self.elapsed_us()
        self.error = RequestError(kind=kind, status=self.status, message=message[:LONGEST_MESSAGE])

    def record(self) -> RequestRecord:
        """The record of the request with everything received so far."""
        job, answer = self.job, self.answer
        return RequestRecord(
            id=job.id,
            prompt_id=job.prompt.prompt_id,
            phase=job.phase,
            worker=job.worker,
            prompt_tokens=len(job.prompt.token_ids),
            max_tokens=job.prompt.max_tokens,
            scheduled_ns=job.scheduled_ns,
            start_ns=self.start_ns,
            start_mono_ns=self.start_mono_ns,
            end_us=self.elapsed_us() if self.end_us is None else self.end_us,
            first_us=answer.first_us,
            chunk_us=answer.chunk_us,
            chunk_tokens=answer.chunk_tokens,
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            logprob_margins=answer.logprob_margins,
            prompt_logprobs=answer.prompt_logprobs,
            usage=answer.usage,
            finish_reason=answer.finish_reason,
            status=self.status,
            outcome=self.outcome,
            error=self.error,
            choices=job.prompt.sampling.n,
            client_queued=job.client_queued,
            first_block=first_block_of(job.prompt.token_ids, self.block_size),
            marker=job.prompt.marker,
        )


class EventConsumer:
    """Consumes the events of one stream. Mid-stream events take the fast path until the first other one."""

    def __init__(self, in_flight: InFlightRequest, sink: Sink) -> None:
        self._in_flight = in_flight
        self._sink = sink
        self._leave_after = in_flight.leave_after
        self._in_mid_stream = self._leave_after is None and in_flight.answer.is_plain

    def take(self, events: Iterable[Event]) -> bool:
        """Events that were read together; False: the last of all was among them.

        Raises what `decode` and `StreamedResponse.take` raise, and Abandoned.
        """
        if self._in_mid_stream:
            other = self._take_run(events := iter(events))
            if other is None:
                return True
            self._in_mid_stream = False
            events = chain((other,), events)
        return self._take_any(events)

    def _take_run(self, events: Iterator[Event]) -> Event | None:
        """Events in mid-stream; gives the first other one."""
        run = TokenRun()
        try:
            return extend(run, events)
        finally:
            if run.chunk_tokens:
                self._sink.tokens(self._in_flight.answer.take_run(run, self._in_flight.start_mono_ns))

    def _take_any(self, events: Iterable[Event]) -> bool:
        in_flight, answer, count = self._in_flight, self._in_flight.answer, 0
        try:
            for data, arrived_ns in events:
                if data.startswith(DONE):
                    return False
                count += answer.take(decode(data), in_flight.at_us(arrived_ns))
                if self._leave_after is not None and answer.tokens >= self._leave_after:
                    raise Abandoned
        finally:
            if count:
                self._sink.tokens(count)
        return True
