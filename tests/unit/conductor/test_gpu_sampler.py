"""A run's GPUs are sampled to its end, whatever happens to the file."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from history import layout
from history.records import GpuRecord
from kvchaos.conductor import gpu_sampler
from kvchaos.conductor.gpu_sampler import GpuSampler
from kvchaos.polling import wait_until


class Gpus:
    """Two GPUs, and how often they were read."""

    def __init__(self) -> None:
        self.reads = 0
        self.closed = 0

    def read(self) -> list[GpuRecord]:
        self.reads += 1
        return [
            GpuRecord(t_ns=self.reads, mono_ns=self.reads, index=index, name="H100", driver="580")
            for index in range(2)
        ]

    def close(self) -> None:
        self.closed += 1


def lines(run_dir: Path) -> list[GpuRecord]:
    content = (run_dir / layout.GPUS).read_bytes().splitlines()
    return [msgspec.json.decode(line, type=GpuRecord) for line in content]


def test_every_gpu_has_a_line_of_each_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sampler, "PERIOD_S", 0.001)
    gpus = Gpus()
    sampler = GpuSampler(gpus, tmp_path)
    assert wait_until(lambda: gpus.reads >= 3, 20.0, 0.001)
    sampler.close()
    assert [line.index for line in lines(tmp_path)] == [0, 1] * gpus.reads
    assert gpus.closed == 1


def test_last_sample_is_taken_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sampler, "PERIOD_S", 3600.0)
    sampler = GpuSampler(Gpus(), tmp_path)
    sampler.close()
    sampler.close()
    assert 1 <= len(lines(tmp_path)) / 2 <= 2


def test_full_disk_ends_the_sampling_and_is_reported_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus = Gpus()

    def full(descriptor: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    sampler = GpuSampler(gpus, tmp_path)
    with pytest.raises(OSError, match="No space left"):
        sampler.close()
    assert gpus.closed == 1
