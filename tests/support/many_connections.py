"""One load worker with many requests at once: `python -m tests.support.many_connections FOLDER REQUESTS`.

It runs against the mock server, and is a process of its own so that its limits can be set.
"""

from __future__ import annotations

import sys
from pathlib import Path

from history import layout
from history.phase_spec import PhaseSpec
from kvchaos.clientbench.measure import MeasureOptions, plan_for
from kvchaos.planning.run_plan import write_plan
from loadtests.mock.mock_process import Fixed, MockServer, Settings
from loadtests.processes import LoadProcesses
from tests.support.load_processes import PATIENCE_S

# Each answer takes so long that all requests are in flight together, also on a busy machine.
SLOW = Settings(ttft=Fixed(ms=6000.0), itl=Fixed(ms=1.0))


def main(folder: Path, count: int) -> None:
    """Keep this many connections open at a time and write the records to the folder."""
    phase = PhaseSpec(name="many", role="load", workload="short", requests=count, concurrency=count)
    with MockServer(SLOW, folder / "sent.jsonl") as server:
        options = MeasureOptions(workers=1, seconds=1.0, concurrency=(count,), client="lean")
        plan = write_plan(plan_for(server.url, options), folder)
        load = LoadProcesses(folder, plan, options.workers, folder / layout.LOADER_LOG)
        try:
            load.start()
            assert load.wait_ready(PATIENCE_S), load.failures()
            load.start_phase(phase)
            assert load.wait_done(PATIENCE_S), load.failures()
        finally:
            load.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
