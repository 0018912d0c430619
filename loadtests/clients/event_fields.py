"""The fields of a response's events that the clients read: tokens, text, logprobs and usage."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from history.records import Usage


class PromptDetails(msgspec.Struct, gc=False):
    """Prompt tokens that came from a cache, as the server reports them."""

    cached_tokens: int | None = None


class UsageEvent(msgspec.Struct, gc=False):
    """The token counts that the server reports for a request."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: PromptDetails | None = None

    def counts(self) -> Usage:
        """The counts as the record of the request has them."""
        details = self.prompt_tokens_details
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.completion_tokens,
            cached_tokens=details.cached_tokens if details else None,
        )


class TopLogprob(msgspec.Struct, gc=False):
    """One of the likeliest tokens at a position of a chat completion."""

    logprob: float


class ChatLogprob(msgspec.Struct, gc=False):
    """The chosen token at a position of a chat completion, with the likeliest ones."""

    logprob: float
    top_logprobs: list[TopLogprob] = []


class Logprobs(msgspec.Struct, gc=False):
    """Logprobs of an event, in the format of completions or of chat completions."""

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

    def margins(self) -> list[float]:
        """Logprob margin between the two likeliest tokens of each position, nats.

        A position has none where the server reported one token only.
        """
        pairs = [heapq.nlargest(2, tops) for tops in self._tops()]
        return [pair[0] - pair[1] for pair in pairs if len(pair) > 1]

    def _tops(self) -> Iterator[list[float]]:
        if self.content is not None:
            yield from ([top.logprob for top in entry.top_logprobs] for entry in self.content)
        yield from (list(tops.values()) for tops in self.top_logprobs or () if tops)


class DeltaFields(msgspec.Struct, gc=False):
    """The text of a chat event. Other fields are ignored."""

    content: str | None = None


PromptLogprobs = list[dict[str, TopLogprob] | None]
"""Each position of the prompt: its own token and the likeliest ones, by id; None for the first."""


class Choice(msgspec.Struct, gc=False):
    """One answer of a request within an event."""

    index: int = 0
    text: str = ""
    delta: DeltaFields | None = None
    """Text in an event of a chat stream."""
    message: DeltaFields | None = None
    """Text in a chat answer that is not streamed."""
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: PromptLogprobs | None = None

    @property
    def has_text(self) -> bool:
        """Whether the event has text for this answer."""
        chat = self.delta or self.message
        return bool(self.text or (chat and chat.content))
