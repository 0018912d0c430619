"""The smallest runs in which each kind of fault can show itself.

Faults that the server survives share a run: each has a phase and prompts of its own, so that none
can pass for another. What ends or blocks the server stands alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from packaging.version import Version

from chaos.inside.fault_kind import ProofCase
from chaos.inside.faults.manager_calls import HOOKS
from chaos.inside.inside_kinds import KINDS
from history.protocol.schedule import Value

PREFIX = "prove-"
STORES = ("store", "prepare_store", "complete_store")
"""Variants that strike stores."""
VARIANTS = {
    "direction": ("load", "store"),
    "hook": HOOKS,
    "blocks": ("first", "middle", "last", "one", "all"),
}
"""By parameter: the values that are proved one by one, where a kind has it and it is a choice."""


@dataclass(frozen=True)
class Case:
    """A kind of fault in one of its variants; None where there is no choice."""

    kind: str
    variant: str | None

    @property
    def name(self) -> str:
        """Of its fault, workload and phase."""
        return f"{self.kind}-{self.variant}" if self.variant else self.kind

    @property
    def parameter(self) -> str | None:
        """The parameter that says the variant."""
        return varied(self.kind)

    @property
    def proof(self) -> ProofCase:
        """As its kind declares it."""
        return KINDS[self.kind].proof

    @property
    def is_content(self) -> bool:
        return KINDS[self.kind].site == "content"

    @property
    def needs_stores(self) -> bool:
        return self.variant in STORES or self.proof.needs_stores


@dataclass(frozen=True)
class Proof:
    """One run."""

    name: str
    """Of its scenario."""
    cases: tuple[Case, ...]


def all_cases() -> Iterator[Case]:
    """All fault kinds with their variants."""
    for kind in KINDS:
        parameter = varied(kind)
        yield from (Case(kind, variant) for variant in (VARIANTS[parameter] if parameter else (None,)))


def varied(kind: str) -> str | None:
    """The parameter of a kind whose values are proved one by one."""
    parameters = KINDS[kind].parameters
    return next((name for name in VARIANTS if name in parameters and parameters[name].choices), None)


def all_proofs(release: Version) -> Iterator[Proof]:
    """The proofs for all kinds that a release of vLLM offers a place for."""
    cases = [case for case in all_cases() if release >= Version(KINDS[case.kind].since or "0")]
    alone = [case for case in cases if case.proof.ends_server]
    poison = [case for case in cases if case.proof.spreads]
    contents = [case for case in cases if case.is_content and case not in poison]
    others = [case for case in cases if not case.is_content and case not in alone]
    yield Proof(f"{PREFIX}manners", tuple(others))
    yield Proof(f"{PREFIX}contents", tuple(contents))
    yield Proof(f"{PREFIX}poison", tuple(poison))
    yield from (Proof(f"{PREFIX}{case.name}", (case,)) for case in alone)


def scenario_of(proof: Proof) -> dict[str, object]:
    """The scenario as it is written to a file. A healed phase shows whether damage was undone."""
    first = proof.cases[0]
    healed = _phase(first, "healed", requests=12, first=24)
    return {
        "name": proof.name,
        "summary": f"Shows what comes of {', '.join(case.name for case in proof.cases)}.",
        "server": {
            "gpu_blocks": _blocks(proof.cases),
            "reserve_full_prompt": False,
            "max_batched_tokens": _step(proof.cases),
        },
        "workloads": {case.name: _prompts(case) for case in proof.cases},
        "phases": [
            *(phase for case in proof.cases for phase in _phases(case)),
            *([healed] if first.proof.spreads else []),
        ],
        "faults": [
            {
                "id": case.name,
                "kind": case.kind,
                "phase": case.name,
                "trigger": dict(case.proof.trigger),
                "params": _params(case),
            }
            for case in proof.cases
        ],
        "limits": {"request_s": 20.0, "stall_s": 6.0, "probe_s": 10.0, "drain_s": 8.0},
    }


def _phases(case: Case) -> list[dict[str, object]]:
    """What a golden phase asked lies in the tier, so its prompts are loaded and hardly ever stored.

    A fault of stores has no golden phase: its prompts are stored at first, loaded in later rounds, and
    compared with the first answer.
    """
    if case.needs_stores:
        return [_phase(case, "chaos", requests=36, first=0)]
    return [
        _phase(case, "golden", requests=12, first=0),
        _phase(case, "chaos", requests=24, first=12),
    ]


def _phase(case: Case, role: str, *, requests: int, first: int) -> dict[str, object]:
    """The phase of a proof scenario for a case."""
    return {
        "name": case.name if role == "chaos" else f"{role}-{case.name}",
        "role": role,
        "workload": case.name,
        "requests": requests,
        "concurrency": 6 if case.proof.needs_simultaneous_copies else 3,
        "first": first,
    }


def _blocks(cases: Sequence[Case]) -> int:
    """Number of blocks of the device.

    Blocks of a lost end must leave room for all others in flight: old releases die of preemption first.
    """
    return 60 if any(case.kind == "completion_lost" for case in cases) else 40


def _step(cases: Sequence[Case]) -> int:
    """Tokens of an engine step. For copies that end together, several prompts must fit."""
    return 512 if any(case.proof.needs_simultaneous_copies for case in cases) else 96


def _prompts(case: Case) -> dict[str, object]:
    """Prompts whose blocks do not all fit the device at once, so that they come from the tier."""
    short = case.proof.needs_simultaneous_copies
    return {
        "kind": "shared_prefix",
        "params": {
            "prefixes": 12 if short else 6,
            "prefix_tokens": 96 if short else 320,
            "suffix_tokens": 20,
            "prompts": 12,
            "min_output": 8,
            "max_output": 32,
        },
    }


def _params(case: Case) -> dict[str, Value]:
    """The parameters of the fault of a case."""
    chosen: dict[str, Value] = {case.parameter: case.variant} if case.parameter and case.variant else {}
    return {**chosen, **case.proof.params}
