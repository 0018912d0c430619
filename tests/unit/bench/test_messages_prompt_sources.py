"""What a measurement of prompts by source says of the copies from the tier."""

from __future__ import annotations

import msgspec

from kvchaos.bench.bench_tables import conclusions
from tests.support.measured_sources import source_measurement, source_run


def test_bandwidth_is_compared_with_the_bus_where_that_is_known() -> None:
    measured = source_measurement(source_run(1))
    known = msgspec.structs.replace(measured, bus_gb_per_s=20.0)
    assert "copies from the tier reach 2 GB/s, 10% of the bus" in conclusions(known)
    assert any("bus is unknown" in line for line in conclusions(measured))


def test_prompts_from_elsewhere_are_named_with_their_share() -> None:
    measured = source_measurement(source_run(1, tier_tokens=300.0))
    wanted = "long tier: only 30% of the prompt tokens was tier: no result"
    assert wanted in conclusions(measured)
