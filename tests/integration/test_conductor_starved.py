"""A client that is kept from the processor must be told from a slow server."""

from __future__ import annotations

from pathlib import Path

import msgspec

from history import layout
from history.reader import read_history
from history.records import ClientRecord
from history.verdict import phase
from tests.support.cpu_starvation import starved
from tests.support.fake_server_runs import Bench, finished, load_worker, scenario, verdict_of, wait_for

SHARE = 0.02
BOUND_MS = 600
"""A starved worker stands still for up to 980 ms at a time; on a machine with much else to do, for less."""
PAUSES = 3
LOAD = 200
"""Requests: they take at least 5 s on any machine, since the server makes its tokens by the clock."""


def test_a_starved_client_makes_the_run_unknown(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    limits = {"client": {"event_loop_lag_ms": BOUND_MS, "schedule_lag_ms": BOUND_MS}}
    conductor = bench.start(scenario("--fake-token-s", "0.02", load=LOAD, limits=limits))
    bench.wait_for_event("phase_start", "load")
    with starved(load_worker(conductor.pid, 0), SHARE):
        # However late the quota comes: the load lasts until it was felt.
        wait_for(lambda: pauses(bench.run_dir(), "load") >= PAUSES)
    code, out, err = finished(conductor)
    assert (code, err) == (2, "")
    verdict = verdict_of(bench.run_dir())
    assert verdict.outcome == "unknown"
    # That it is this phase says that the client was fast enough in the one before.
    assert verdict.cut is not None
    assert (verdict.cut.kind, verdict.cut.subject) == ("client/lag", phase("load"))
    assert verdict.cut.figures["worker"] == 0
    assert verdict.cut.text in " ".join(out.split())
    assert {record.outcome for record in read_history(bench.run_dir()).requests} == {"ok"}


def pauses(run_dir: Path, name: str) -> int:
    """How often the load worker stood still beyond the bound in a phase, by its own word so far."""
    lines = (run_dir / layout.CLIENT).read_bytes().splitlines(keepends=True)
    records = [msgspec.json.decode(line, type=ClientRecord) for line in lines if line.endswith(b"\n")]
    own = (record for record in records if record.phase == name)
    return sum(lag > 1000 * BOUND_MS for record in own for lag in record.event_loop_lag_us)
