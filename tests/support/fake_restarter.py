"""What an injector needs besides the server: a restarter, without a conductor."""

from __future__ import annotations

from dataclasses import dataclass, field

from chaos.outside.injector import DueInjection
from history.protocol.outside import Serves


@dataclass
class FakeRestarter:
    """Records the calls; the next incarnation serves when a test says so."""

    serves: bool = False
    calls: list[str] = field(default_factory=list)

    def log_line(self) -> int:
        return 12

    def probe(self, where: str) -> None:
        self.calls.append(f"probe {where}")

    def restart(self) -> None:
        self.calls.append("restart")

    def ready(self) -> Serves | None:
        return Serves(pid=1) if self.serves else None


def strike(kind: str, **params: float) -> DueInjection:
    """A due injection of this kind, at invocation 0."""
    return DueInjection("f1", kind, "answered", 0, {"duration_s": 0.0, **params}, seed=1)
