"""What each stack can do, for everything that knows a stack by its name only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from history.scenario import StackName


@dataclass(frozen=True, slots=True)
class StackCapabilities:
    """What differs between stacks."""

    starts_server: bool
    """The server is the suite's to start, to end and to reset; else it was there before, and stays."""
    containers: Literal["cpu", "cuda"] | None = None
    """What the server in a container computes on; None: no containers."""
    tiny_model: bool = False
    """The server has the suite's own model, whose chat template is known."""

    @property
    def starts_processes(self) -> bool:
        """The server is processes of this machine that the conductor starts."""
        return self.starts_server and self.containers is None


CAPABILITIES: Mapping[StackName, StackCapabilities] = {
    "local": StackCapabilities(starts_server=True, tiny_model=True),
    "compose-cpu": StackCapabilities(starts_server=True, containers="cpu", tiny_model=True),
    "compose-gpu": StackCapabilities(starts_server=True, containers="cuda"),
    "attach": StackCapabilities(starts_server=False),
}
