"""The oracles: each is a pure function from the history of a run to a verdict with evidence.

One oracle per file. Oracles import only `history`, numpy and the standard library, so they do not depend on
how the run was made. `effects.checks` alone also imports the catalogue of faults, which has the effect check
of each. A module's `ORACLE` is registered; other packages register theirs by the entry point `kvchaos.rules`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from history.plan import RunPlan
from history.protocol.extensions import OWN, RULES, refuse_others, register_units
from history.scenario import StackName
from oracles.findings import GPU, LOG, PROMETHEUS, RESOURCES, Oracle, Rule

UNSEEN: dict[StackName, tuple[str, ...]] = {"attach": (LOG, RESOURCES)}
"""What a stack never shows."""
FIRST = (
    "server-alive",
    "progress",
    "logs",
    "outcomes",
    "counters",
    "accounting",
    "metrics-crosscheck",
    "answers",
    "drained",
    "resources",
    "gpu",
    "transfer-invariants",
    "faults-fired",
    "blast-radius",
    "client",
    "performance",
    "offload-used",
)
"""The order of reports. Oracles that are not named here follow by name."""

_REGISTERED: dict[str, Oracle] = {}
ORIGINS: dict[str, str] = {}
"""The package of each oracle, by name."""


def register(oracle: Oracle, origin: str) -> None:
    """Add an oracle. Raises ValueError when its name is taken, or a rule is not its own."""
    if oracle.name in _REGISTERED:
        raise ValueError(f"there are two oracles {oracle.name}")
    for rule in oracle.rules:
        if rule.oracle != oracle.name:
            raise ValueError(f"rule {rule.id} must begin with {oracle.name}/")
    _REGISTERED[oracle.name], ORIGINS[oracle.name] = oracle, origin


def _rank(oracle: Oracle) -> tuple[int, str]:
    return FIRST.index(oracle.name) if oracle.name in FIRST else len(FIRST), oracle.name


for _module in iter_modules(__path__, f"{__name__}."):
    if not _module.ispkg and (_oracle := getattr(import_module(_module.name), "ORACLE", None)) is not None:
        register(_oracle, OWN)
register_units(RULES, Oracle, register)
refuse_others(RULES, Oracle)

ORACLES: tuple[Oracle, ...] = tuple(sorted(_REGISTERED.values(), key=_rank))


def all_rules() -> tuple[Rule, ...]:
    """The rules of all oracles, in their order, those of other packages included."""
    return tuple(rule for oracle in ORACLES for rule in oracle.rules)


def judges_of(plan: RunPlan) -> tuple[Oracle, ...]:
    """The oracles that apply to the plan: `metrics-crosscheck` only with Prometheus, `gpu` only on a GPU."""
    unseen = (
        *UNSEEN.get(plan.stack, ()),
        *(() if plan.prometheus else (PROMETHEUS,)),
        *(() if plan.on_gpu else (GPU,)),
    )
    return tuple(oracle for oracle in ORACLES if oracle.reads[0] not in unseen)
