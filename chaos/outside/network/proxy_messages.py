"""The messages of conductor and proxy: commands as JSON lines on the proxy's stdin, reports as JSON lines
in a file. The end of stdin means that the conductor is gone."""

from __future__ import annotations

from typing import Literal

import msgspec

from history.protocol.outside import BytesDelayed, NetworkCut, SlowRead
from history.records import Record, Time


class _Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="do"):
    """`strike` identifies the injection."""

    strike: str


class CutCommand(_Command, frozen=True, tag="cut"):
    """Reset all connections; reset new ones as they come."""


class StallCommand(_Command, frozen=True, tag="stall"):
    """Let nothing pass."""


class DelayCommand(_Command, frozen=True, tag="delay"):
    seed: int
    up_ms: float
    down_ms: float
    jitter_ms: float
    """At most so much more, by lot, for each piece."""


class LoseCommand(_Command, frozen=True, tag="lose"):
    seed: int
    share: float
    again_ms: float
    """Until a piece that was lost is sent again; twice as long each further time."""


class ReadSlowlyCommand(_Command, frozen=True, tag="read_slowly"):
    requests: int
    """So many, from the next that begins."""
    bytes_per_s: float


class RevertCommand(_Command, frozen=True, tag="lift"):
    """End an injection. No-op when it is not active."""


ProxyCommand = CutCommand | StallCommand | DelayCommand | LoseCommand | ReadSlowlyCommand | RevertCommand


ProxyEffect = NetworkCut | BytesDelayed | SlowRead
ProxyEvent = Literal["listens", "struck", "undone"]
"""struck: an injection took effect. undone: it is over, and its evidence is complete."""


class ProxyReport(Record, frozen=True, kw_only=True):
    """One line of the proxy's file."""

    t_ns: Time
    mono_ns: Time
    event: ProxyEvent
    strike: str | None
    port: int | None = None
    """listens: where."""
    cut: NetworkCut | None = None
    """struck, undone: the effect so far; exactly one of these, by kind."""
    held: BytesDelayed | None = None
    slow: SlowRead | None = None

    @property
    def effect(self) -> ProxyEffect | None:
        return self.cut or self.held or self.slow


def report(event: ProxyEvent, strike: str, effect: ProxyEffect, t_ns: int, mono_ns: int) -> ProxyReport:
    """Of a strike."""
    match effect:
        case NetworkCut():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, cut=effect)
        case BytesDelayed():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, held=effect)
        case SlowRead():
            return ProxyReport(t_ns=t_ns, mono_ns=mono_ns, event=event, strike=strike, slow=effect)
