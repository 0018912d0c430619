"""A calibration of a server that answers bit for bit must find nothing, and must have tried."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history.reader import read_history
from kvchaos.calibration.stored_calibrations import FILE, Calibration
from kvchaos.json_lines import read_json_lines
from tests.server.bench import NEW, Bench, own_cache

pytestmark = pytest.mark.server
DECODER = msgspec.json.Decoder(Calibration)


def test_server_that_answers_bit_for_bit_needs_no_tolerance(tmp_path: Path, server_cache: Path) -> None:
    bench = Bench(tmp_path, own_cache(tmp_path))
    finished = bench.run("calibrate", "--server", NEW)
    assert finished.code == 0, finished.out + finished.err
    (stored,) = read_json_lines(bench.cache / FILE, DECODER)
    history = read_history(finished.run().path)
    phases = {phase.name: phase for phase in history.plan.scenario.phases}
    compared = sum(phases[name].requests for name in ("device", "company", "tier", "tier-company"))
    assert (stored.pairs, stored.equal, stored.tolerance) == (compared, compared, 0.0)
    assert stored.run == history.plan.run_id
