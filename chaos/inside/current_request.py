"""The request that the scheduler handles now, for managers that do not receive it (to 0.21)."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

from chaos.hostcopy.generation import detect
from chaos.inside.process_globals import context


@cache
def managers_receive_request_id() -> bool:
    """Whether the installed vLLM passes the request's id in every call of the manager (0.22 on)."""
    api = import_module(detect().offered("OffloadingManager").__module__)
    if not hasattr(api, "ReqContext"):
        return False
    return "req_id" in {field.name for field in dataclasses.fields(api.ReqContext)}


@contextmanager
def request_scope(request: str | None) -> Iterator[None]:
    """Set the current request within the block; none afterwards."""
    context.request = request
    try:
        yield
    finally:
        context.request = None


def tracking_current_request(scheduler_output: Any) -> Any:
    """A scheduler output that sets the current request to the one that the connector looks up.

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
