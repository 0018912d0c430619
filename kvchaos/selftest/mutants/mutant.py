"""Mutants, the kills that are expected of them, and the sessions that run them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kvchaos.selftest.mutating_proxy import Mutation
from kvchaos.selftest.server_mutations import SampleMutation
from oracles.findings import Rule
from oracles.laws.families import family


@dataclass(frozen=True, slots=True)
class ExpectedKill:
    """The finding by which an oracle must report a mutant."""

    oracle: str
    rule: str | None
    """The id of the rule that it finds broken. None where it must be unknown."""
    subject: str = ""
    """What the name of the finding's subject begins with."""


def violates(rule: Rule, subject: str = "") -> ExpectedKill:
    """A violation of this rule, of a subject whose name begins so."""
    return ExpectedKill(rule.oracle, rule.id, subject)


def inconclusive(oracle: str) -> ExpectedKill:
    """The oracle must be unknown, since it has no rule to break."""
    return ExpectedKill(oracle, None)


@dataclass(frozen=True)
class Mutant:
    """One known error in the traffic or in the run."""

    name: str
    what: str
    mutations: tuple[Mutation, ...]
    kills: tuple[ExpectedKill, ...]
    """Each must come, and no violation of another rule that does not bind what is made wrong."""

    @property
    def families(self) -> frozenset[str]:
        """Metric families whose figures it makes wrong."""
        samples = (each for each in self.mutations if isinstance(each, SampleMutation))
        return frozenset(family(sample.metric) for sample in samples)


@dataclass(frozen=True)
class Session:
    """One run with mutants that different oracles find, or one oracle by different rules."""

    name: str
    mutants: tuple[Mutant, ...] = ()
    server: Mapping[str, object] = field(default_factory=dict)
    """Server settings that differ from the defaults."""
    client: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the client, where they are not the usual ones."""
    load: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the server's speed under load."""
    faults: tuple[Mapping[str, object], ...] = ()
    """Inside the server, under load."""
    limits: Mapping[str, float] = field(default_factory=dict)
    prometheus: bool = False
    """Prometheus watches, too."""
    contract_violating: bool = False
    """The mutant is a fault inside the server, in a scenario of its own."""


def single_mutant(name: str, what: str, mutation: Mutation, *kills: ExpectedKill) -> Mutant:
    """A mutant of one mutation."""
    return Mutant(name, what, (mutation,), kills)
