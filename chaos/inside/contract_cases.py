"""Does a fault keep its contract? Its cases, run by the server's interpreter before a run, without a server.

`python -m chaos.inside.contract_cases KIND...` prints one JSON line a case: {"kind", "case", "problem"}. Each
case injects once into a sample of the injection point, by the same runtime as in a server.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from chaos.inside.control import LEASE, SCHEDULE
from chaos.inside.fault_kind import ContractCase, FaultKind
from chaos.inside.fault_runtime import FaultRuntime
from chaos.inside.injection_points import CONTENT, CopiedBlocks, InjectionPoint, SamplePoints
from chaos.inside.inside_kinds import KINDS
from chaos.inside.trigger_decisions import InjectedFailure
from history.protocol import extensions
from history.protocol.extensions import ForeignCode
from history.protocol.schedule import ArmedFault, Schedule, Trigger, Value

PATIENCE_S = 60.0
CONTENT_BYTES = 64
INVOCATIONS = 2
"""Invocations of each sample: some faults need an earlier copy."""


@dataclass(frozen=True)
class Injected:
    """What one injection left."""

    point: InjectionPoint
    lines: Sequence[Mapping[str, Any]]
    """Lines of the journal: fired and refused."""


def problems(kind: FaultKind) -> Iterator[tuple[str, str | None]]:
    """Each case of a kind with what is wrong; None when nothing is."""
    general = (ContractCase("fires-with-its-evidence", lambda point: None), *kind.contract_cases)
    for case in general:
        yield case.name, _problem(kind, case)
    if "dry_run" in kind.parameters:
        yield "dry-run-changes-nothing", _dry_run_problem(kind)


def _problem(kind: FaultKind, case: ContractCase) -> str | None:
    with ForeignCode() as code:
        injected = _inject(kind, case.params)
        evidence = [line["evidence"] for line in injected.lines if line["event"] == "fired"]
        deferred = getattr(injected.point, "delayed_by", None) or getattr(injected.point, "again", None)
        if (error := _error(injected)) is not None:
            return error
        if not evidence and not deferred:
            return "it did not fire"
        for each in evidence:
            msgspec.convert(each, kind.firing)
        case.check(injected.point)
        return None
    return code.error


def _dry_run_problem(kind: FaultKind) -> str | None:
    with ForeignCode() as code:
        injected = _inject(kind, {"dry_run": True})
        refused = [line["evidence"].get("reason") for line in injected.lines]
        if (error := _error(injected)) is not None:
            return error
        return None if refused == ["dry-run"] * INVOCATIONS else f"it journals {refused}"
    return code.error


def _error(injected: Injected) -> str | None:
    """What the fault's own code raised, by the journal."""
    refusals = (line["evidence"] for line in injected.lines if line["event"] == "refused")
    return next((each["detail"] for each in refusals if each["reason"] == "fault-raised"), None)


def _inject(kind: FaultKind, params: Mapping[str, Value]) -> Injected:
    """Arm a fault that fires always, and inject it into samples of its site."""
    with tempfile.TemporaryDirectory() as folder:
        control = Path(folder)
        fault = ArmedFault("contract", kind.name, Trigger(every=1), dict(params))
        schedule = Schedule(v=1, epoch=1, seed=1, lease_s=PATIENCE_S, faults=(fault,))
        (control / LEASE).touch()
        (control / SCHEDULE).write_bytes(msgspec.json.encode(schedule))
        runtime = FaultRuntime(kind.role, control, "contract")
        try:
            _wait_until_armed(runtime, kind)
            memory: dict[str, Any] = {}
            for _ in range(INVOCATIONS):
                point = _sample(kind.site, memory)
                _strike(runtime, kind, point)
        finally:
            runtime.close()
        (journal,) = control.glob("faults-*.jsonl")
        lines = map(json.loads, journal.read_text().splitlines())
        return Injected(point, [line for line in lines if line["event"] in ("fired", "refused")])


def _wait_until_armed(runtime: FaultRuntime, kind: FaultKind) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not runtime.armed(kind.name):
        if time.monotonic() > deadline:
            raise AssertionError("the schedule was refused")
        time.sleep(0.01)


def _strike(runtime: FaultRuntime, kind: FaultKind, point: InjectionPoint) -> None:
    """One invocation, by the parameters that the kind has. An injected exception is an injection, too."""
    has = kind.parameters
    try:
        runtime.inject(
            kind.site,
            point,
            request="contract",
            direction="load" if "direction" in has else None,
            hook=str(has["hook"].default) if "hook" in has else None,
            key=bytes(32),
        )
    except InjectedFailure:
        return


def _sample(site: str, memory: dict[str, Any]) -> InjectionPoint:
    if site != CONTENT:
        return SamplePoints.by_site()[site]()
    import torch

    from chaos.hostcopy.tier import Plane

    # Noise: zeroes would hide a fault that zeroes.
    content = torch.randint(1, 255, (4, CONTENT_BYTES), dtype=torch.uint8)
    return CopiedBlocks("load", [Plane("0", content)], [1, 3], None, memory)


def main(names: Sequence[str]) -> None:
    """Print the cases of these kinds; of a kind that is not there, why."""
    for name in names:
        if name not in KINDS:
            why = "; ".join(extensions.broken) or "no such kind of fault in this interpreter"
            _print(name, "loads", why)
            continue
        for case, problem in problems(KINDS[name]):
            _print(name, case, problem)


def _print(kind: str, case: str, problem: str | None) -> None:
    sys.stdout.write(json.dumps({"kind": kind, "case": case, "problem": problem}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
