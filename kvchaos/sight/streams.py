"""Mutations of the answers that clients get."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kvchaos.sight.mutation import DONE, Asked, Cut, Mutation, Reply, Traffic

Event = dict[str, Any]
AT = 3
"""The event of a stream that is struck, from 0."""


@dataclass(slots=True)
class Refused(Mutation):
    """One request never reaches the server."""

    request: str
    status: int

    def asked(self, asked: Asked, traffic: Traffic) -> Reply | None:
        if asked.id != self.request:
            return None
        body = {
            "error": {"message": "the mutant refuses", "type": "InternalServerError", "code": self.status}
        }
        return Reply(self.status, "application/json", json.dumps(body).encode())


@dataclass(slots=True)
class Stream(Mutation):
    """The events of one request pass through a function."""

    request: str
    change: Callable[[Iterator[str]], Iterator[str]]

    def events(self, asked: Asked, events: Iterator[str]) -> Iterator[str]:
        return self.change(events) if asked.id == self.request else events


@dataclass(slots=True)
class Foreign(Mutation):
    """One request gets tokens and logprobs of the answer to another prompt."""

    request: str
    source: str
    """Its prompt must be another one."""
    _kept: list[Event] = field(default_factory=list)

    def events(self, asked: Asked, events: Iterator[str]) -> Iterator[str]:
        if asked.id == self.source:
            return self._keep(events)
        return self._swap(events) if asked.id == self.request else events

    def _keep(self, events: Iterator[str]) -> Iterator[str]:
        for event in events:
            if event != DONE and (choice := _choice(json.loads(event))) is not None:
                self._kept.append(choice)
            yield event

    def _swap(self, events: Iterator[str]) -> Iterator[str]:
        others = iter(self._kept)
        for event in events:
            content: Event = {} if event == DONE else json.loads(event)
            choice = _choice(content)
            other = next(others, None) if choice is not None else None
            if choice is None or other is None:
                yield event
                continue
            choice |= {name: other[name] for name in ("text", "token_ids", "logprobs")}
            yield json.dumps(content)


def truncated(events: Iterator[str]) -> Iterator[str]:
    """End tidily, and too early."""
    for number, event in enumerate(events):
        if number == AT:
            return
        yield event


def cut(events: Iterator[str]) -> Iterator[str]:
    """Break the connection off in mid-answer."""
    yield from truncated(events)
    raise Cut


def with_error(events: Iterator[str]) -> Iterator[str]:
    """An error in the midst of an answer that began with status 200."""
    yield from truncated(events)
    yield json.dumps({"error": {"message": "the mutant fails", "type": "InternalServerError", "code": 500}})


def twice(events: Iterator[str]) -> Iterator[str]:
    """One event comes twice."""
    for number, event in enumerate(events):
        yield event
        if number == AT:
            yield event


def lost(events: Iterator[str]) -> Iterator[str]:
    """One event never comes."""
    return (event for number, event in enumerate(events) if number != AT)


def held(seconds: float, at: int = AT) -> Callable[[Iterator[str]], Iterator[str]]:
    """Nothing comes for so long, before an event."""

    def hold(events: Iterator[str]) -> Iterator[str]:
        for number, event in enumerate(events):
            if number == at:
                time.sleep(seconds)
            yield event

    return hold


def other_token(events: Iterator[str]) -> Iterator[str]:
    """One token is another, with the logprob of the right one."""

    def change(choice: Event) -> None:
        choice["token_ids"] = [choice["token_ids"][0] ^ 1]

    return _struck(events, change)


def other_logprob(events: Iterator[str]) -> Iterator[str]:
    """One logprob differs in its last bit, as a number of 32 bits."""

    def change(choice: Event) -> None:
        before = choice["logprobs"]["token_logprobs"][0]
        choice["logprobs"]["token_logprobs"] = [before - 2.0 ** (math.frexp(before)[1] - 24)]

    return _struck(events, change)


def _struck(events: Iterator[str], change: Callable[[Event], None]) -> Iterator[str]:
    for number, event in enumerate(events):
        if number != AT:
            yield event
            continue
        content = json.loads(event)
        change(content["choices"][0])
        yield json.dumps(content)


def usage(name: str, by: int) -> Callable[[Iterator[str]], Iterator[str]]:
    """A figure of the answer's usage is off."""

    def change(events: Iterator[str]) -> Iterator[str]:
        for event in events:
            content: Event = {} if event == DONE else json.loads(event)
            told = content.get("usage")
            if not told:
                yield event
                continue
            place = told if name in told else told["prompt_tokens_details"]
            place[name] = (place[name] or 0) + by
            yield json.dumps(content)

    return change


def _choice(content: Event) -> Event | None:
    choices = content.get("choices")
    return choices[0] if choices else None
