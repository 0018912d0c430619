"""The clients that a run can choose from."""

from __future__ import annotations

from typing import Protocol

from history.plan import ClientKind
from loadtests.clients.base import CompletionClient
from loadtests.clients.lean_client import LeanClient
from loadtests.clients.openai_client import OpenAIClient


class Make(Protocol):
    def __call__(
        self,
        base_url: str,
        model: str,
        deadline_s: float,
        block_size: int | None = None,
        *,
        with_gaps: bool = False,
        own_host: str | None = None,
    ) -> CompletionClient:
        """Raises ValueError when the address is neither on this machine nor that of the conductor's."""


CLIENTS: dict[ClientKind, Make] = {"openai": OpenAIClient, "lean": LeanClient}
