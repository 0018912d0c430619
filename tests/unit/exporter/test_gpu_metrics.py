"""Metrics of GPUs: units, absent figures, and the names that the dashboard queries."""

from __future__ import annotations

import re

from history.records import GpuRecord
from kvchaos.exporter.gpu_metrics import gpu_families
from tests.prometheus.grafana_queries import RUN_BOARD, queries, read
from tests.support.synthetic_records import GPU_BYTES, gpu_sample

NAME = re.compile(r"kvchaos_gpu_\w+")


def exported(*samples: GpuRecord, xids: int = 0) -> dict[tuple[str, ...], float]:
    """Each sample by its name and labels."""
    families = gpu_families(samples, {sample.index: xids for sample in samples})
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def test_figures_are_exported_in_base_units() -> None:
    assert exported(gpu_sample(), xids=2) == {
        ("kvchaos_gpu_memory_used_bytes", "0"): GPU_BYTES // 2,
        ("kvchaos_gpu_memory_bytes", "0"): GPU_BYTES,
        ("kvchaos_gpu_busy_ratio", "0"): 0.85,
        ("kvchaos_gpu_power_watts", "0"): 350,
        ("kvchaos_gpu_temperature_celsius", "0"): 61,
        ("kvchaos_gpu_clock_hertz", "0"): 1.5e9,
        ("kvchaos_gpu_bus_bytes_per_second", "0", "sent"): 1000,
        ("kvchaos_gpu_bus_bytes_per_second", "0", "received"): 2000,
        ("kvchaos_gpu_slowed", "0", "power-cap"): 1,
        ("kvchaos_gpu_xid_errors_total", "0"): 2,
    }


def test_a_figure_that_a_card_does_not_report_is_absent_and_not_zero() -> None:
    names = {name for name, *_ in exported(gpu_sample(power_mw=None, busy_percent=None))}
    assert not names & {"kvchaos_gpu_power_watts", "kvchaos_gpu_busy_ratio"}


def test_every_card_has_its_own_series() -> None:
    used = exported(gpu_sample(), gpu_sample(index=1, used_bytes=5))
    assert used["kvchaos_gpu_memory_used_bytes", "1"] == 5
    assert used["kvchaos_gpu_memory_used_bytes", "0"] == GPU_BYTES // 2


def test_dashboard_queries_only_exported_metrics_of_gpus() -> None:
    queried = {name for query in queries(read(RUN_BOARD)) for name in NAME.findall(query.expr)}
    assert queried
    assert queried <= {name for name, *_ in exported(gpu_sample())}
