"""The metrics of the GPUs, from the driver's figures. A figure that a card does not report has no sample."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from history.records import GpuRecord

MILLI = 1e-3
PERCENT = 1e-2
HZ_PER_MHZ = 1e6
GAUGES: tuple[tuple[str, str, Callable[[GpuRecord], int | None], float], ...] = (
    ("memory_used_bytes", "Device memory in use, by all processes.", lambda gpu: gpu.used_bytes, 1),
    ("memory_bytes", "Device memory.", lambda gpu: gpu.total_bytes, 1),
    ("busy_ratio", "Part of the time in which a kernel ran.", lambda gpu: gpu.busy_percent, PERCENT),
    ("power_watts", "Power that the card draws.", lambda gpu: gpu.power_mw, MILLI),
    ("temperature_celsius", "Temperature of the card.", lambda gpu: gpu.celsius, 1),
    ("clock_hertz", "Clock of the multiprocessors.", lambda gpu: gpu.clock_mhz, HZ_PER_MHZ),
)
"""Name, meaning, field, and the factor to the unit of the name."""
BUS: tuple[tuple[str, Callable[[GpuRecord], int | None]], ...] = (
    ("sent", lambda gpu: gpu.bus_sent_bytes_per_s),
    ("received", lambda gpu: gpu.bus_received_bytes_per_s),
)


def gpu_families(gpus: Sequence[GpuRecord], xids: Mapping[int, int]) -> Iterable[Metric]:
    """The families of the last sample of each card; `xids` counts the critical errors of each."""
    for name, meaning, field, factor in GAUGES:
        gauge = GaugeMetricFamily(f"kvchaos_gpu_{name}", meaning, labels=["gpu"])
        for gpu in gpus:
            if (value := field(gpu)) is not None:
                gauge.add_metric([str(gpu.index)], value * factor)
        yield gauge
    bus = GaugeMetricFamily(
        "kvchaos_gpu_bus_bytes_per_second", "Throughput of the card's bus.", labels=["gpu", "direction"]
    )
    slowed = GaugeMetricFamily(
        "kvchaos_gpu_slowed", "1 while the clocks are lower for this reason.", labels=["gpu", "reason"]
    )
    errors = CounterMetricFamily(
        "kvchaos_gpu_xid_errors", "Critical errors (XID) that the driver reported.", labels=["gpu"]
    )
    for gpu in gpus:
        for direction, rate in BUS:
            if (value := rate(gpu)) is not None:
                bus.add_metric([str(gpu.index), direction], value)
        for reason in gpu.slowdowns:
            slowed.add_metric([str(gpu.index), reason], 1)
        errors.add_metric([str(gpu.index)], xids[gpu.index])
    yield from (bus, slowed, errors)
