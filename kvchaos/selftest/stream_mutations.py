"""Mutations of the event streams that clients receive."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kvchaos.selftest.mutating_proxy import (
    DONE,
    ConnectionCut,
    Mutation,
    ProxiedRequest,
    ProxiedResponse,
    TrafficState,
)

StreamEvent = dict[str, Any]
ALTERED_EVENT = 3
"""Index of the altered event in a stream, from 0."""
ONE_REQUEST_IN = 4
"""One request in so many of the load gets an expensive event."""
EXPENSIVE_EVENT = f'{{"choices":[{",".join(["{}"] * 1_000_000)}]}}'
"""An event without a token that takes a client some tenths of a second to parse."""


@dataclass(slots=True)
class RequestRefused(Mutation):
    """One request is refused by the proxy and never reaches the server."""

    request: str
    status: int

    def intercept(self, request: ProxiedRequest, traffic: TrafficState) -> ProxiedResponse | None:
        """An error response for its request; None for all others."""
        if request.id != self.request:
            return None
        body = {
            "error": {"message": "the mutant refuses", "type": "InternalServerError", "code": self.status}
        }
        return ProxiedResponse(self.status, "application/json", json.dumps(body).encode())


@dataclass(slots=True)
class StreamMutation(Mutation):
    """The events of one request pass through a function."""

    request: str
    change: Callable[[Iterator[str]], Iterator[str]]

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        """The altered events of its request; those of others unchanged."""
        return self.change(single_tokens(events)) if request.id == self.request else events


@dataclass(slots=True)
class SwappedAnswer(Mutation):
    """One request gets tokens and logprobs of the answer to another prompt."""

    request: str
    source: str
    """The request whose answer is used instead; it must have another prompt."""
    _kept: list[StreamEvent] = field(default_factory=list)

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        """The events of its request with the answer of another."""
        if request.id == self.source:
            return self._keep(events)
        return self._swap(single_tokens(events)) if request.id == self.request else events

    def _keep(self, events: Iterator[str]) -> Iterator[str]:
        for event in events:
            for single in single_tokens(iter((event,))):
                if single != DONE and (choice := _choice(json.loads(single))) is not None:
                    self._kept.append(choice)
            yield event

    def _swap(self, events: Iterator[str]) -> Iterator[str]:
        others = iter(self._kept)
        for event in events:
            content: StreamEvent = {} if event == DONE else json.loads(event)
            choice = _choice(content)
            other = next(others, None) if choice is not None else None
            if choice is None or other is None:
                yield event
                continue
            choice |= {name: other[name] for name in ("text", "token_ids", "logprobs")}
            yield json.dumps(content)


class ExpensiveEvents(Mutation):
    """Some streams contain an event that keeps the client busy."""

    def events(self, request: ProxiedRequest, events: Iterator[str]) -> Iterator[str]:
        """The events with an expensive one among them, for a fraction of the load."""
        altered = request.of_load and int(request.id.rpartition("-")[2]) % ONE_REQUEST_IN == 0
        return _with_expensive_event(events) if altered else events


def _with_expensive_event(events: Iterator[str]) -> Iterator[str]:
    for number, event in enumerate(events):
        if number == ALTERED_EVENT:
            yield EXPENSIVE_EVENT
        yield event


def single_tokens(events: Iterator[str]) -> Iterator[str]:
    """One event per token: a loaded server puts several tokens in one event, and a mutation alters one."""
    for event in events:
        content: StreamEvent = {} if event == DONE else json.loads(event)
        choice = _choice(content)
        tokens = len(choice["token_ids"] or ()) if choice else 0
        if choice is None or tokens < 2:
            yield event
            continue
        for index in range(tokens):
            yield json.dumps(content | {"choices": [_single_token(choice, index, tokens)]})


def _single_token(choice: StreamEvent, index: int, tokens: int) -> StreamEvent:
    """The event's text goes with its first token and its finish reason with its last one."""
    logprobs = {name: values[index : index + 1] for name, values in choice["logprobs"].items()}
    single = choice | {"token_ids": choice["token_ids"][index : index + 1], "logprobs": logprobs}
    if index > 0:
        single["text"] = ""
    if index < tokens - 1:
        single["finish_reason"] = None
    return single


def truncated(events: Iterator[str]) -> Iterator[str]:
    """The stream ends without an error, but too early."""
    for number, event in enumerate(events):
        if number == ALTERED_EVENT:
            return
        yield event


def connection_cut(events: Iterator[str]) -> Iterator[str]:
    """The connection closes in the middle of an answer."""
    yield from truncated(events)
    raise ConnectionCut


def error_event(events: Iterator[str]) -> Iterator[str]:
    """An error in the midst of an answer that began with status 200."""
    yield from truncated(events)
    yield json.dumps({"error": {"message": "the mutant fails", "type": "InternalServerError", "code": 500}})


def event_repeated(events: Iterator[str]) -> Iterator[str]:
    """One event comes twice."""
    for number, event in enumerate(events):
        yield event
        if number == ALTERED_EVENT:
            yield event


def event_lost(events: Iterator[str]) -> Iterator[str]:
    """One event never comes."""
    return (event for number, event in enumerate(events) if number != ALTERED_EVENT)


def stalled(seconds: float, at: int = ALTERED_EVENT) -> Callable[[Iterator[str]], Iterator[str]]:
    """The stream stalls for so many seconds before an event."""

    def stall(events: Iterator[str]) -> Iterator[str]:
        for number, event in enumerate(events):
            if number == at:
                time.sleep(seconds)
            yield event

    return stall


def other_token(events: Iterator[str]) -> Iterator[str]:
    """One token is replaced; its logprob stays that of the right one."""

    def change(choice: StreamEvent) -> None:
        choice["token_ids"] = [choice["token_ids"][0] ^ 1]

    return _event_altered(events, change)


def other_logprob(events: Iterator[str]) -> Iterator[str]:
    """One logprob differs in its last bit, as a number of 32 bits."""

    def change(choice: StreamEvent) -> None:
        before = choice["logprobs"]["token_logprobs"][0]
        choice["logprobs"]["token_logprobs"] = [before - 2.0 ** (math.frexp(before)[1] - 24)]

    return _event_altered(events, change)


def _event_altered(events: Iterator[str], change: Callable[[StreamEvent], None]) -> Iterator[str]:
    for number, event in enumerate(events):
        if number != ALTERED_EVENT:
            yield event
            continue
        content = json.loads(event)
        change(content["choices"][0])
        yield json.dumps(content)


def usage_off_by(name: str, by: int) -> Callable[[Iterator[str]], Iterator[str]]:
    """A count in the usage of the answer is off by this much."""

    def change(events: Iterator[str]) -> Iterator[str]:
        for event in events:
            content: StreamEvent = {} if event == DONE else json.loads(event)
            usage = content.get("usage")
            if not usage:
                yield event
                continue
            counts = usage if name in usage else usage["prompt_tokens_details"]
            counts[name] = (counts[name] or 0) + by
            yield json.dumps(content)

    return change


def _choice(content: StreamEvent) -> StreamEvent | None:
    choices = content.get("choices")
    return choices[0] if choices else None
