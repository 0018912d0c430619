"""The events of a completion stream, and the answer that they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec

from history.records import Usage


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class UsageEvent(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None = None


class Logprobs(msgspec.Struct):
    token_logprobs: list[float] | None = None


class Choice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None


class Chunk(msgspec.Struct):
    """One event. Fields that are not listed are the server's own affair."""

    choices: list[Choice]
    usage: UsageEvent | None = None


class MalformedChunk(Exception):
    """An event that is no completion chunk."""


@dataclass(slots=True)
class Answer:
    """What has arrived so far. Times are offsets from the request's start, microseconds."""

    first_us: int | None = None
    chunk_us: list[int] = field(default_factory=list)
    chunk_tokens: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    usage: Usage | None = None
    finish_reason: str | None = None

    def add(self, event: Any, at_us: int) -> int:
        """Take in one event as decoded from JSON; gives how many tokens it brought. Raises MalformedChunk."""
        try:
            chunk = msgspec.convert(event, Chunk)
        except msgspec.ValidationError as error:
            raise MalformedChunk(str(error)) from error
        if len(chunk.choices) > 1:
            raise MalformedChunk(f"{len(chunk.choices)} choices, asked for one")
        if chunk.usage is not None:
            self.usage = _usage(chunk.usage)
        return self._add_choice(chunk.choices[0], at_us) if chunk.choices else 0

    def missing(self) -> list[str]:
        """What a complete answer would have and this one has not."""
        parts = {"finish reason": self.finish_reason, "usage": self.usage}
        return [name for name, value in parts.items() if value is None]

    def _add_choice(self, choice: Choice, at_us: int) -> int:
        ids = choice.token_ids or []
        logprobs = (choice.logprobs.token_logprobs if choice.logprobs else None) or []
        # A server that sends no token ids still tells the count by its logprobs.
        count = len(ids) or len(logprobs)
        if self.first_us is None and (count or choice.text):
            self.first_us = at_us
        if count:
            self.chunk_us.append(at_us)
            self.chunk_tokens.append(count)
        self.token_ids.extend(ids)
        self.logprobs.extend(logprobs)
        if choice.finish_reason is not None:
            self.finish_reason = choice.finish_reason
        return count


def _usage(event: UsageEvent) -> Usage:
    details = event.prompt_tokens_details
    return Usage(
        prompt_tokens=event.prompt_tokens,
        completion_tokens=event.completion_tokens,
        cached_tokens=details.cached_tokens if details else None,
    )
