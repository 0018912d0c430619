"""The plan of a soak, and the times of its phases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from history.expected_findings import Expectation
from history.phase_spec import PhaseSpec, Role
from history.plan import RunPlan, Versions
from history.scenario import FaultSpec, Scenario, ServerSettings, Trigger, WorkloadSpec

NS_PER_S = 1_000_000_000
START_NS = 1_800_000_000 * NS_PER_S
MONO_SHIFT_NS = START_NS - 500 * NS_PER_S
"""Between the wall clock and the monotonic one of the pretended host."""
REQUESTS_PER_S = 1_000_000 / 36_000
"""A million requests are a soak of 10 hours."""
REST_S = 2.0
"""Seconds from the last answer of a phase to the start of the next phase."""
PROMPT_TOKENS = 340
BLOCK_SIZE = 32
KV_TOKEN_BYTES = 1024
STRUCK_EVERY = 500
"""Each of the two faults strikes one request of so many, while it is armed."""
FAULTS = (
    FaultSpec(id="f-failed", kind="load_failed", trigger=Trigger(every=STRUCK_EVERY)),
    FaultSpec(id="f-late", kind="completion_late", trigger=Trigger(every=STRUCK_EVERY, offset=1)),
)
PHASES: tuple[tuple[str, Role, str, float], ...] = (
    ("golden", "golden", "shared", 0.01),
    ("steady", "load", "shared", 0.5),
    ("armed", "chaos", "shared", 0.25),
    ("fresh", "load", "fresh", 0.2),
    ("after", "healed", "shared", 0.04),
)
"""Name, role, workload, share of all requests. The golden phase sends each shared prompt once."""


@dataclass(frozen=True, slots=True)
class SoakPhase:
    """A phase as it is to go: its number, its plan, when it starts, and how long requests keep coming."""

    number: int
    spec: PhaseSpec
    start_ns: int
    seconds: float


def phases(requests: int) -> tuple[PhaseSpec, ...]:
    """The phases of a soak of so many requests, at least 100."""
    return tuple(
        PhaseSpec(name=name, role=role, workload=workload, requests=round(requests * share), concurrency=64)
        for name, role, workload, share in PHASES
    )


def soak_phases(requests: int) -> Iterator[SoakPhase]:
    """The phases of a soak of so many requests, each with its start and its length."""
    start_ns = START_NS + 30 * NS_PER_S
    for number, spec in enumerate(phases(requests)):
        seconds = spec.requests / REQUESTS_PER_S
        yield SoakPhase(number, spec, start_ns, seconds)
        start_ns += round((seconds + REST_S) * NS_PER_S)


def plan(requests: int, seed: int) -> RunPlan:
    """The plan of a soak on a pretended server of 0.32.0."""
    return RunPlan(
        run_id=f"soak-{requests}",
        seed=seed,
        stack="local",
        scenario=Scenario(
            name="soak",
            summary="A soak that never happened.",
            server=ServerSettings(gpu_blocks=300, block_size=BLOCK_SIZE),
            workloads={
                "shared": WorkloadSpec(kind="shared_prefix"),
                "fresh": WorkloadSpec(kind="unique"),
            },
            phases=phases(requests),
            faults=FAULTS,
        ),
        expectation=Expectation(releases="==0.32.0"),
        base_url="http://127.0.0.1:8000",
        command=("python", "-m", "vllm.entrypoints.openai.api_server"),
        environment={},
        versions=Versions(
            kvchaos="0.1.0",
            vllm="0.32.0",
            torch="2.13.0",
            python="3.11.7",
            server_name="0.32.0",
            model="0123456789abcdef",
            git="unknown",
            host="none",
        ),
        kv_token_bytes=KV_TOKEN_BYTES,
        created="2027-01-15T08:00:00Z",
    )
