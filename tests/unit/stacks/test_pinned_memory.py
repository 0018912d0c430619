"""Pinned memory is what the kernel counts, in bytes; without its counters it is unknown, not zero."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvchaos.stacks.pinned_memory import pinned_bytes
from kvchaos.stacks.process_usage import PAGE_BYTES


def vmstat(folder: Path, text: str) -> Path:
    path = folder / "vmstat"
    path.write_text(f"nr_free_pages 17\n{text}", encoding="ascii")
    return path


def test_pages_that_are_not_released_are_pinned(tmp_path: Path) -> None:
    assert (
        pinned_bytes(vmstat(tmp_path, "nr_foll_pin_acquired 10\nnr_foll_pin_released 7\n")) == 3 * PAGE_BYTES
    )


def test_pages_released_between_both_counters_are_not_negative_memory(tmp_path: Path) -> None:
    assert pinned_bytes(vmstat(tmp_path, "nr_foll_pin_acquired 10\nnr_foll_pin_released 11\n")) == 0


@pytest.mark.parametrize("text", ["", "nr_foll_pin_acquired 10\n"], ids=["neither", "one"])
def test_kernel_without_the_counters_reports_no_figure(tmp_path: Path, text: str) -> None:
    assert pinned_bytes(vmstat(tmp_path, text)) is None


def test_system_without_the_file_reports_no_figure(tmp_path: Path) -> None:
    assert pinned_bytes(tmp_path / "vmstat") is None
