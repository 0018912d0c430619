"""The events of a completions or chat stream, and the response that they add up to."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import msgspec

from history.records import Usage
from loadtests.clients.fast_decoder import TokenRun

NS_PER_US = 1000


class PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class UsageEvent(msgspec.Struct, gc=False):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None = None


class TopLogprob(msgspec.Struct, gc=False):
    logprob: float


class ChatLogprob(msgspec.Struct, gc=False):
    logprob: float
    top_logprobs: list[TopLogprob] = []


class Logprobs(msgspec.Struct, gc=False):
    token_logprobs: list[float] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None
    """The likeliest tokens of each position, as many as requested."""
    content: list[ChatLogprob] | None = None
    """Both, in the format of chat completions."""

    def own(self) -> list[float]:
        """The logprob of the generated token at each position."""
        if self.content is not None:
            return [entry.logprob for entry in self.content]
        return self.token_logprobs or []

    def gaps(self) -> list[float]:
        """The logprob margin between the two likeliest tokens of each position, nats; none where the server
        reported one token only."""
        pairs = [heapq.nlargest(2, tops) for tops in self._tops()]
        return [pair[0] - pair[1] for pair in pairs if len(pair) > 1]

    def _tops(self) -> Iterator[list[float]]:
        if self.content is not None:
            yield from ([top.logprob for top in entry.top_logprobs] for entry in self.content)
        yield from (list(tops.values()) for tops in self.top_logprobs or () if tops)


class DeltaFields(msgspec.Struct, gc=False):
    content: str | None = None


PromptLogprobs = list[dict[str, TopLogprob] | None]
"""Each position of the prompt: its own token and the likeliest ones, by id; None for the first."""


class Choice(msgspec.Struct, gc=False):
    index: int = 0
    text: str = ""
    delta: DeltaFields | None = None
    """The text in a chat's event,"""
    message: DeltaFields | None = None
    """and in a chat's answer in one piece."""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None

    @property
    def has_text(self) -> bool:
        chat = self.delta or self.message
        return bool(self.text or (chat and chat.content))


class Chunk(msgspec.Struct, gc=False):
    """One event. Fields that are not listed are the server's own affair."""

    choices: list[Choice]
    usage: UsageEvent | None = None
    error: Any = None
    prompt_logprobs: PromptLogprobs | None = None
    """A chat has them there."""


class MalformedChunk(Exception):
    """An event that is none of a completion."""


def chunk_of(event: Any) -> Chunk:
    """From an event as decoded from JSON. Raises MalformedChunk."""
    try:
        return msgspec.convert(event, Chunk)
    except msgspec.ValidationError as error:
        raise MalformedChunk(str(error)) from error


@dataclass(slots=True)
class ChoiceSoFar:
    """One of the answers to a prompt that asked for several."""

    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    finish_reason: str | None = None


class StreamedResponse:
    """The response received so far. Times are offsets from the request's start, microseconds."""

    __slots__ = (
        "_choices",
        "_prompt",
        "_with_gaps",
        "chunk_tokens",
        "chunk_us",
        "first_us",
        "prompt_logprobs",
        "usage",
    )

    def __init__(self, choices: int = 1, *, prompt: Sequence[int] = (), with_gaps: bool = False) -> None:
        """`prompt`: its tokens where their logprobs were asked for."""
        self._prompt = prompt
        self._with_gaps = with_gaps
        self.prompt_logprobs: list[float] = []
        """Of the prompt's tokens from the second on, where they were asked for."""
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
        """Of all choices, one after the other."""
        return [*chain.from_iterable(choice.token_ids for choice in self._choices)]

    @property
    def logprobs(self) -> list[float]:
        return [*chain.from_iterable(choice.logprobs for choice in self._choices)]

    @property
    def gaps(self) -> list[float]:
        """Empty unless they were asked for."""
        return [*chain.from_iterable(choice.gaps for choice in self._choices)]

    @property
    def finish_reason(self) -> str | None:
        """Of the first choice, once all have one."""
        reasons = [choice.finish_reason for choice in self._choices]
        return None if None in reasons else reasons[0]

    @property
    def is_plain(self) -> bool:
        """It is one answer, and of its tokens nothing is kept but id and logprob."""
        return len(self._choices) == 1 and not self._with_gaps

    def add(self, event: Any, at_us: int) -> int:
        """Take in one event as decoded from JSON; gives how many tokens it brought. Raises MalformedChunk."""
        return self.take(chunk_of(event), at_us)

    def take(self, chunk: Chunk, at_us: int) -> int:
        """Take in one event; gives how many tokens it brought. Raises MalformedChunk."""
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        count = 0
        for choice in chunk.choices:
            if not 0 <= choice.index < len(self._choices):
                raise MalformedChunk(f"choice {choice.index}, asked for {len(self._choices)}")
            came = self._add(choice, self._choices[choice.index])
            if self.first_us is None and (came or choice.has_text):
                self.first_us = at_us
            count += came
            if (
                choice.index == 0
                and (of_prompt := choice.prompt_logprobs or chunk.prompt_logprobs) is not None
            ):
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
        if self._with_gaps:
            so_far.gaps += reported.gaps()
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


def _usage(event: UsageEvent) -> Usage:
    details = event.prompt_tokens_details
    return Usage(
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        cached_tokens=details.cached_tokens if details else None,
    )
