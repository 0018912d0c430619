"""What the NVIDIA driver reports of this machine's GPUs, by NVML."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import pynvml

from history.records import GpuRecord
from kvchaos.stacks.pinned_memory import pinned_bytes

T = TypeVar("T")
KIB = 1024
LANE_GB_PER_S = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""One lane of PCI Express in one direction, after its encoding, by generation."""
SLOWDOWNS = {
    "thermal": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
    | pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
    "hardware": pynvml.nvmlClocksThrottleReasonHwSlowdown,
    "power-brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    "power-cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
}
"""Bits of the driver's reasons, by the names in a history."""


class GpuReader:
    """Reads all GPUs. Close it when the run ends."""

    def __init__(self) -> None:
        """Raises pynvml.NVMLError without a driver."""
        pynvml.nvmlInit()
        self._driver = str(pynvml.nvmlSystemGetDriverVersion())
        self._cards = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        self._ids = [str(pynvml.nvmlDeviceGetUUID(card)) for card in self._cards]
        self._names = [str(pynvml.nvmlDeviceGetName(card)) for card in self._cards]
        self._errors = pynvml.nvmlEventSetCreate()
        for card in self._cards:
            # Not every card reports critical errors.
            with suppress(pynvml.NVMLError):
                pynvml.nvmlDeviceRegisterEvents(card, pynvml.nvmlEventTypeXidCriticalError, self._errors)

    def read(self) -> list[GpuRecord]:
        """One record for each GPU."""
        xids = list(self._critical_errors())
        return [
            self._of_card(index, card, tuple(xid for at, xid in xids if at == index))
            for index, card in enumerate(self._cards)
        ]

    def close(self) -> None:
        """End the use of the driver."""
        with suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(self._errors)
            pynvml.nvmlShutdown()

    def _critical_errors(self) -> Iterator[tuple[int, int]]:
        """Index of the card and XID of each critical error since the last call."""
        while True:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._errors, 0)
                card = str(pynvml.nvmlDeviceGetUUID(event.device))
            except pynvml.NVMLError:
                return  # No event is left.
            yield self._ids.index(card), int(event.eventData)

    def _of_card(self, index: int, card: Any, xids: tuple[int, ...]) -> GpuRecord:
        now = GpuRecord(
            t_ns=time.time_ns(),
            mono_ns=time.monotonic_ns(),
            index=index,
            name=self._names[index],
            driver=self._driver,
            xids=xids,
            host_pinned_bytes=pinned_bytes(),
        )
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(card)
        except pynvml.NVMLError as error:
            return msgspec.structs.replace(now, error=str(error))
        busy = _reported(pynvml.nvmlDeviceGetUtilizationRates, card)
        slow = _reported(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, card) or 0
        return msgspec.structs.replace(
            now,
            used_bytes=int(memory.used),
            total_bytes=int(memory.total),
            busy_percent=None if busy is None else int(busy.gpu),
            bus_sent_bytes_per_s=_bus(card, pynvml.NVML_PCIE_UTIL_TX_BYTES),
            bus_received_bytes_per_s=_bus(card, pynvml.NVML_PCIE_UTIL_RX_BYTES),
            power_mw=_reported(pynvml.nvmlDeviceGetPowerUsage, card),
            celsius=_reported(pynvml.nvmlDeviceGetTemperature, card, pynvml.NVML_TEMPERATURE_GPU),
            clock_mhz=_reported(pynvml.nvmlDeviceGetClockInfo, card, pynvml.NVML_CLOCK_SM),
            max_clock_mhz=_reported(pynvml.nvmlDeviceGetMaxClockInfo, card, pynvml.NVML_CLOCK_SM),
            slowdowns=tuple(name for name, bits in SLOWDOWNS.items() if slow & bits),
            uncorrected_errors=_reported(
                pynvml.nvmlDeviceGetTotalEccErrors,
                card,
                pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
                pynvml.NVML_VOLATILE_ECC,
            ),
        )


def open_gpus() -> GpuReader | None:
    """A reader of the GPUs; None without a driver."""
    try:
        return GpuReader()
    except pynvml.NVMLError:
        return None


def bus_gb_per_s() -> float | None:
    """Bandwidth of the slowest bus between a GPU and the host, one direction; None where it is unknown."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return min((_bus_limit(card) for card in cards), default=None)
    except (pynvml.NVMLError, KeyError):
        return None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _bus_limit(card: Any) -> float:
    """Raises NVMLError where the card does not report its bus, KeyError for a generation without a figure."""
    generation = pynvml.nvmlDeviceGetMaxPcieLinkGeneration(card)
    return LANE_GB_PER_S[generation] * float(pynvml.nvmlDeviceGetMaxPcieLinkWidth(card))


def _reported(query: Callable[..., T], *arguments: Any) -> T | None:
    """The answer of a query; None where the card does not report it."""
    try:
        return query(*arguments)
    except pynvml.NVMLError:
        return None


def _bus(card: Any, counter: int) -> int | None:
    """Bytes a second over the bus; the driver reports KiB."""
    rate = _reported(pynvml.nvmlDeviceGetPcieThroughput, card, counter)
    return None if rate is None else int(rate) * KIB
