"""Our own load process as one of the compared clients: `python -m benchmarks.clients.ours`.

Sends for a while, as a run of the suite would, and leaves the records in a folder.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from benchmarks.clients.client_load import ClientLoad, ClientObservation
from history import layout
from history.records import RequestRecord
from history.scenario import ClientKind
from kvchaos.clientbench.client_bench_file import LoadStep
from kvchaos.clientbench.measure import LONG, MeasureOptions, phase_for, plan_for
from kvchaos.planning.run_plan import write_plan
from loadtests.processes import LoadProcesses

READY_S = 120.0
END_S = 60.0


def command(client: ClientKind, load: ClientLoad, url: str, folder: Path) -> list[str]:
    """The call of this file that sends a load."""
    call = [sys.executable, "-m", "benchmarks.clients.ours", client, url, str(folder)]
    call += ["--at-once", str(load.at_once), "--seconds", f"{load.seconds:g}"]
    return call if load.rate is None else [*call, "--rate", f"{load.rate:g}"]


def read(folder: Path) -> Iterable[ClientObservation]:
    """Times of the good answers, ns of the monotonic clock, from the records of the one load worker."""
    lines = (folder / layout.requests_file(0)).read_bytes()
    for record in msgspec.json.Decoder(RequestRecord).decode_lines(lines):
        if record.outcome == "ok":
            times_ns = [record.start_mono_ns + at_us * 1e3 for at_us in record.chunk_us]
            gaps_ms = tuple((later - at) / 1e6 for at, later in pairwise(times_ns))
            yield ClientObservation(id=record.id, first_ns=times_ns[0], gaps_ms=gaps_ms)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of one measured client of this suite: sends its load, writes its records, returns 0."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients.ours", description=__doc__)
    parser.add_argument("client", choices=("openai", "lean"))
    parser.add_argument("url")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--at-once", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float)
    chosen = parser.parse_args(arguments)
    options = MeasureOptions(
        workers=1, seconds=chosen.seconds, concurrency=(chosen.at_once,), client=chosen.client
    )
    plan = write_plan(plan_for(chosen.url, options), chosen.folder)
    load = LoadProcesses(chosen.folder, plan, options.workers, chosen.folder / layout.LOADER_LOG)
    try:
        load.start()
        if not load.wait_ready(READY_S):
            raise TimeoutError("; ".join(load.failures()) or "the load process did not get ready")
        load.start_phase(
            phase_for(LoadStep("long", chosen.at_once, LONG, chosen.rate), "long", chosen.seconds)
        )
        time.sleep(chosen.seconds)
        load.stop_phase("measured")
        if not load.wait_done(END_S):
            raise TimeoutError("; ".join(load.failures()) or "the load process did not end")
    finally:
        load.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
