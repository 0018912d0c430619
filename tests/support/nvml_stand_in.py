"""A stand-in for NVIDIA's driver: it answers the queries of nvidia-ml-py without a GPU.

It proves what is done with the answers, and nothing about a driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

GIB = 1 << 30
LINK_QUERIES = ("nvmlDeviceGetMaxPcieLinkGeneration", "nvmlDeviceGetMaxPcieLinkWidth")


@dataclass
class Card:
    """What the driver says of one card. A query that is not in `answers` is not supported."""

    uuid: str = "GPU-1"
    used: int = 10 * GIB
    lost: bool = False
    answers: dict[str, Any] = field(default_factory=dict)


def all_answers() -> dict[str, Any]:
    """The answers of a card that supports every query."""
    return {
        "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=85, memory=40),
        "nvmlDeviceGetPcieThroughput": 2000,
        "nvmlDeviceGetPowerUsage": 350_000,
        "nvmlDeviceGetTemperature": 61,
        "nvmlDeviceGetClockInfo": 1500,
        "nvmlDeviceGetMaxClockInfo": 1980,
        "nvmlDeviceGetCurrentClocksThrottleReasons": 0,
        "nvmlDeviceGetTotalEccErrors": 0,
    }


class StandIn:
    """The driver with its cards, and critical errors that wait to be read."""

    def __init__(self, cards: list[Card]) -> None:
        self.cards = cards
        self.errors: list[tuple[Card, int]] = []
        self.shut_down = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replace the functions of nvidia-ml-py."""
        plain: dict[str, Any] = {
            "nvmlInit": lambda: None,
            "nvmlShutdown": self._shutdown,
            "nvmlSystemGetDriverVersion": lambda: "580.95",
            "nvmlDeviceGetCount": lambda: len(self.cards),
            "nvmlDeviceGetHandleByIndex": lambda index: self.cards[index],
            "nvmlDeviceGetUUID": lambda card: card.uuid,
            "nvmlDeviceGetName": lambda card: "NVIDIA H100",
            "nvmlDeviceGetMemoryInfo": _memory,
            "nvmlEventSetCreate": lambda: "set",
            "nvmlEventSetFree": lambda events: None,
            "nvmlDeviceRegisterEvents": lambda card, kinds, events: None,
            "nvmlEventSetWait_v2": self._next_error,
        }
        for name, function in plain.items():
            monkeypatch.setattr(pynvml, name, function)
        for name in (*all_answers(), *LINK_QUERIES):
            monkeypatch.setattr(pynvml, name, _query(name))

    def _next_error(self, events: object, timeout_ms: int) -> SimpleNamespace:
        if not self.errors:
            raise pynvml.NVMLError_Timeout
        card, xid = self.errors.pop(0)
        return SimpleNamespace(device=card, eventData=xid)

    def _shutdown(self) -> None:
        self.shut_down += 1


def _memory(card: Card) -> SimpleNamespace:
    if card.lost:
        raise pynvml.NVMLError_GpuIsLost
    return SimpleNamespace(used=card.used, total=80 * GIB)


def _query(name: str) -> Any:
    def query(card: Card, *arguments: object) -> Any:
        if name not in card.answers:
            raise pynvml.NVMLError_NotSupported
        return card.answers[name]

    return query
