"""Pairs on two mock servers: the known delay is what the load workers measure, and nothing else differs."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kvchaos.nightly.proof.mock_pairs import MockBuild, MockPairs


def test_known_delays_are_measured_by_the_real_load_workers(tmp_path: Path) -> None:
    control = MockBuild(ttft_ms=200.0, itl_ms=40.0)
    with MockPairs(tmp_path) as pairs:
        pairs.serve(control, control.slower("ttft-median", 2.0), 0.0, 1)
        first = pairs.measure(1)
        pairs.serve(control, control.slower("itl-median", 2.0), 0.0, 2)
        second = pairs.measure(1)
    assert first["ttft-median"] == [pytest.approx(math.log(2.0), abs=0.2)]
    assert first["itl-median"] == [pytest.approx(0.0, abs=0.2)]
    assert second["itl-median"] == [pytest.approx(math.log(2.0), abs=0.2)]
    assert second["ttft-median"] == [pytest.approx(0.0, abs=0.2)]
    # A slower server has less throughput, which counts as a slowdown too.
    assert first["throughput"][0] > 0
    assert second["throughput"][0] > 0
