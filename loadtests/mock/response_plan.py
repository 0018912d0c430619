"""The mock server's plan of one response: derived from the seed before the first byte is sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from loadtests.mock.settings import COMPLETE, End, Fixed, Settings

NS_PER_MS = 1e6
FIRST_LETTER, LETTERS = ord("a"), 26


@dataclass(frozen=True, slots=True)
class ResponsePlan:
    """Events come in steps: in each step one event for every requested choice."""

    end: End
    offsets_ns: tuple[int, ...]
    """Of each step, from the arrival of the request. An http_error comes when the first token would."""
    step_tokens: tuple[int, ...]
    """Tokens that a step brings to each choice."""

    @property
    def is_complete(self) -> bool:
        return self.end in COMPLETE


def response_plan(settings: Settings, request_id: str, max_tokens: int) -> ResponsePlan:
    """The same for the same seed and id, whatever else is under way."""
    random = Random(_number(settings.seed, request_id))
    size = settings.tokens_per_event
    sizes = [size] * (max_tokens // size) + [max_tokens % size] * (max_tokens % size > 0)
    end, index = _end(settings, random.random()), random.random()
    broken_at = min(1 + int(index * (len(sizes) - 1)), len(sizes))
    offsets = list(_offsets(settings, random, len(sizes)))
    if end == "pause":
        pause_ns = round(settings.pause_ms * NS_PER_MS)
        first_late = broken_at if len(sizes) > 1 else 0
        offsets[first_late:] = [offset + pause_ns for offset in offsets[first_late:]]
    elif end == "http_error":
        offsets, sizes = offsets[:1], [0]
    elif end not in COMPLETE:
        offsets, sizes = offsets[:broken_at], sizes[:broken_at]
    return ResponsePlan(end, tuple(offsets), tuple(sizes))


def response_tokens(request_id: str, choice: int, count: int) -> list[int]:
    """The token ids of an answer: letters, so that the text has as many characters as there are tokens."""
    begin = _number(choice, request_id) % LETTERS
    return [FIRST_LETTER + (begin + 7 * index) % LETTERS for index in range(count)]


def _end(settings: Settings, lot: float) -> End:
    for end, share in settings.ends.items():
        lot -= share
        if lot < 0:
            return end
    return "whole"


def _offsets(settings: Settings, random: Random, steps: int) -> Iterator[int]:
    at_ms = settings.ttft.at(random.random())
    yield round(at_ms * NS_PER_MS)
    for step in range(1, steps):
        if isinstance(settings.itl, Fixed):
            yield round((at_ms + step * settings.itl.ms) * NS_PER_MS)
        else:
            at_ms += settings.itl.at(random.random())
            yield round(at_ms * NS_PER_MS)


def _number(salt: int, request_id: str) -> int:
    digest = hashlib.blake2b(f"{salt}:{request_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
