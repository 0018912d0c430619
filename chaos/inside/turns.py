"""Whose turn it is in the scheduler, for managers that are not told (to 0.21)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside.runtime import context


@cache
def managers_are_told() -> bool:
    """Whether the installed vLLM names the request whenever it asks the manager for something (0.22 on)."""
    api = import_module(detect().offered("OffloadingManager").__module__)
    if not hasattr(api, "ReqContext"):
        return False
    return "req_id" in {field.name for field in dataclasses.fields(api.ReqContext)}


@contextmanager
def turn_of(request: str | None) -> Iterator[None]:
    """It is this request's turn; nobody's afterwards."""
    context.request = request
    try:
        yield
    finally:
        context.request = None


def noting_turns(scheduler_output: Any) -> Any:
    """What the connector is told of a step, so that it is the turn of the request that it looks at.

    To 0.21 the connector goes through the requests of a step one by one: it asks how many tokens one
    gets, then prepares its store.
    """
    noting = copy.copy(scheduler_output)
    noting.num_scheduled_tokens = _Tokens(scheduler_output.num_scheduled_tokens)
    return noting


class _Tokens(dict[str, int]):
    def __getitem__(self, request: str) -> int:
        context.request = request
        return super().__getitem__(request)
