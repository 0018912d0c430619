"""The result of a measurement as Markdown, and as a line of a history."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Literal

import msgspec

from benchmarks.idle_cost.cost_estimate import Estimate, FigureCost, Targets, answer
from benchmarks.idle_cost.measured_life import IdleTime
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.bench.bench_analysis import CONFIDENCE
from kvchaos.planning.run_plan import host
from kvchaos.report.text_tables import markdown_table
from kvchaos.servers.server_registry import ServerEnv

HEADINGS = (
    "figure",
    "plain",
    "chaos module",
    "cost",
    f"{CONFIDENCE:.0%} interval",
    "plain against plain",
    f"{CONFIDENCE:.0%} interval",
    "answer",
)


Subject = Literal["engines", "servers"]
"""What was compared: two engines in alternating steps, or whole servers."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """All lives of one state of the module."""

    state: ModuleState
    subject: Subject
    server: ServerEnv
    lives: int
    rounds: int
    """Of each life."""
    processors: str
    """Which processors were used for what."""
    idle: Sequence[IdleTime]
    costs: Sequence[FigureCost]
    targets: Targets


def report(result: Measurement) -> str:
    """Date, machine and the table, as Markdown."""
    rows = [
        (
            each.figure.name,
            f"{each.plain:.4g} {each.figure.unit}",
            f"{each.module:.4g} {each.figure.unit}",
            *_shown(each.cost),
            *_shown(each.control),
            ": ".join(filter(None, answer(each, result.targets))),
        )
        for each in result.costs
    ]
    idle = [fmean(times) for times in zip(*result.idle, strict=True)]
    server = result.server
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, vLLM {server.vllm}, Python {server.python_version}, "
        f"torch {server.torch}; {host()}; {result.processors}; load of the machine {os.getloadavg()[1]:.1f} "
        f"(5 minutes).\n{result.lives} lives of {result.rounds} rounds. Target: {result.targets.cost:.0%}. "
        f"Processor time without a request: plain {idle[0]:.1f} and {idle[1]:.1f}, with the chaos module "
        f"{idle[2]:.1f} ms a second.\n\n{markdown_table(HEADINGS, rows)}"
    )


def _shown(estimate: Estimate) -> tuple[str, str]:
    return f"{estimate.mean:+.2%}", f"{estimate.low:+.2%} to {estimate.high:+.2%}"


class HistoryLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure of one measurement, as a history has it. Costs are shares."""

    t: str
    state: str
    subject: str
    vllm: str
    python: str
    host: str
    lives: int
    figure: str
    plain: float
    module: float
    cost: float
    low: float
    high: float
    control_low: float
    control_high: float
    answer: str


def append_result(result: Measurement, history: Path) -> None:
    """Append one line for each figure."""
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    lines = [
        HistoryLine(
            t=now,
            state=result.state,
            subject=result.subject,
            vllm=result.server.vllm,
            python=result.server.python_version,
            host=host(),
            lives=result.lives,
            figure=each.figure.name,
            plain=each.plain,
            module=each.module,
            cost=each.cost.mean,
            low=each.cost.low,
            high=each.cost.high,
            control_low=each.control.low,
            control_high=each.control.high,
            answer=answer(each, result.targets)[0],
        )
        for each in result.costs
    ]
    with history.open("ab") as file:
        file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
