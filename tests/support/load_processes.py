"""Load processes without a conductor: a plan for them, the processes, and what they recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from history.phase_spec import Arrivals, Closed, PhaseSpec
from history.plan import load_only_plan
from history.records import RequestRecord
from history.scenario import ClientKind, Param, WorkloadSpec
from loadtests.processes import LoadProcesses, OnReport

PATIENCE_S = 60.0


def phase(
    name: str = "load",
    requests: int = 20,
    concurrency: int = 4,
    first: int = 0,
    arrivals: Arrivals | None = None,
    workload: str = "asks",
) -> PhaseSpec:
    """The specification of a phase, as the conductor sends it to load workers."""
    return PhaseSpec(
        name=name,
        role="load",
        workload=workload,
        requests=requests,
        concurrency=concurrency,
        arrivals=arrivals or Closed(),
        first=first,
    )


def write_plan(
    run_dir: Path,
    url: str,
    *,
    request_s: float = PATIENCE_S,
    kind: str = "unique",
    params: dict[str, Param] | None = None,
    workloads: Mapping[str, WorkloadSpec] | None = None,
    client: ClientKind = "openai",
) -> Path:
    """The plan of a run of one workload, small unless `params` says otherwise, or of these."""
    given = params or {"min_output": 8, "max_output": 16, "prompt_tokens": 16}
    workload = WorkloadSpec(kind=kind, params=given)
    plan = load_only_plan(
        "r1", url, {"asks": workload, **(workloads or {})}, phase(), request_s=request_s, client=client
    )
    path = run_dir / "run.yaml"
    path.write_text(plan.model_dump_json())
    return path


@contextmanager
def loaders(
    run_dir: Path, plan: Path, workers: int = 1, tell: OnReport | None = None
) -> Iterator[LoadProcesses]:
    """Run load workers for the time of the block."""
    processes = LoadProcesses(run_dir, plan, workers, run_dir / "loader.log", tell)
    processes.start()
    try:
        yield processes
    finally:
        processes.close()


def records(run_dir: Path) -> list[RequestRecord]:
    """All request records that the workers wrote."""
    lines = [line for path in run_dir.glob("requests-*.jsonl") for line in path.read_bytes().splitlines()]
    return [msgspec.json.decode(line, type=RequestRecord) for line in lines]


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until the condition is true; a timeout fails the test."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
