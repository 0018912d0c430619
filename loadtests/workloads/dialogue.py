"""Prompts as messages, for chat completions, and what the tiny model's chat template makes of them.

Of another model's template nothing is known here, so how many tokens it makes of a message is not either.
"""

from __future__ import annotations

from collections.abc import Sequence

from loadtests.workloads.prompt import Message

LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


def text_of(tokens: Sequence[int]) -> str:
    """A letter for each token. Tokens of all sorts need not be text."""
    return "".join(LETTERS[token % len(LETTERS)] for token in tokens)


def rendered(messages: Sequence[Message]) -> tuple[int, ...]:
    """The prompt's tokens, a byte each. Messages are ASCII."""
    text = "".join(f"{message.role}: {message.content}\n" for message in messages)
    return tuple(f"{text}assistant: ".encode("ascii"))


def as_dialogue(tokens: Sequence[int], begin: int) -> tuple[Message, ...]:
    """A prompt's first `begin` tokens as the system's word, the others as a user's."""
    return Message("system", text_of(tokens[:begin])), Message("user", text_of(tokens[begin:]))


OVERHEAD = len(rendered((Message("system", ""), Message("user", ""))))
"""Tokens that the template adds to such a dialogue."""
