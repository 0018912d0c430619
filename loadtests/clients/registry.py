"""The clients that a run can choose from."""

from __future__ import annotations

from history.scenario import ClientKind
from loadtests.clients.completion_client import CompletionClient
from loadtests.clients.lean_client import LeanClient
from loadtests.clients.openai_client import OpenAIClient

CLIENTS: dict[ClientKind, type[CompletionClient]] = {"openai": OpenAIClient, "lean": LeanClient}
