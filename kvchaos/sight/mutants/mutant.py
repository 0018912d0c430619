"""What a mutant is, and what a run with mutants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from history.verdict import Verdict
from kvchaos.sight.mutation import Mutation


@dataclass(frozen=True, slots=True)
class Found:
    """What an oracle must say of a mutant."""

    words: str
    """A regular expression that one of its witnesses matches, or its summary where it has none."""
    verdict: Verdict = Verdict.FAIL


@dataclass(frozen=True)
class Mutant:
    """One way in which traffic, or the run, is made wrong."""

    name: str
    what: str
    mutations: tuple[Mutation, ...]
    kills: Mapping[str, Found]
    """By the oracle's name. All others must pass."""


@dataclass(frozen=True)
class Session:
    """One run with mutants that different oracles find, or one oracle by different words."""

    name: str
    mutants: tuple[Mutant, ...] = ()
    server: Mapping[str, object] = field(default_factory=dict)
    """What the server is started with beside the usual."""
    client: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the client, where they are not the usual ones."""
    load: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the server's speed under load."""
    faults: tuple[Mapping[str, object], ...] = ()
    """Inside the server, under load."""
    limits: Mapping[str, float] = field(default_factory=dict)
    prometheus: bool = False
    """Prometheus watches, too."""
    hostile: bool = False
    """The mutant is a fault inside the server, in a scenario of its own."""


def one(name: str, what: str, mutation: Mutation, **kills: str) -> Mutant:
    """A mutant of one mutation. `kills`: words by the name of an oracle, with _ for -."""
    found = {oracle.replace("_", "-"): Found(words) for oracle, words in kills.items()}
    return Mutant(name, what, (mutation,), found)
