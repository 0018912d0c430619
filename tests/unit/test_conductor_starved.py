"""A client that is kept from the processor must be told from a slow server."""

from __future__ import annotations

from pathlib import Path

from history.reader import read_history
from tests.starving import starved
from tests.unit.conducting import Bench, finished, load_worker, scenario, verdict_of

SHARE = 0.03
BOUND_MS = 400
"""A starved worker stands still for up to 970 ms at a time."""


def test_a_starved_client_makes_the_run_unknown(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    limits = {"client": {"lag_ms": BOUND_MS, "late_ms": BOUND_MS}}
    conductor = bench.start(scenario("--fake-token-s", "0.02", load=60, limits=limits))
    bench.wait_for_event("phase_start", "load")
    with starved(load_worker(conductor.pid, 0), SHARE):
        bench.wait_for_event("phase_end", "load")
    code, out, err = finished(conductor)
    assert (code, err) == (2, "")
    verdict = verdict_of(bench.run_dir())
    assert verdict.outcome == "unknown"
    # That it is this phase says that the client was fast enough in the one before.
    assert verdict.reasons[0].startswith("the client was the limit: phase load: worker 0 was held up for ")
    assert "the client was the limit" in out
    assert {record.outcome for record in read_history(bench.run_dir()).requests} == {"ok"}
