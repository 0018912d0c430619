"""Keys of plans and scenarios that had other names in version 1. Plans of version 1 are read as today's."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

from history.protocol.evidence import SCHEMA_VERSION
from history.strict_yaml import Value

ANY_ITEM = "*"


@dataclass(frozen=True, slots=True)
class RenamedKey:
    """A key of scenarios or plans that has another name since version 2."""

    parents: tuple[str, ...]
    """The keys above it; `ANY_ITEM` stands for each item of a list."""
    old: str
    new: str


RENAMED_IN_SCENARIOS = (
    RenamedKey(("limits",), "canary_s", "probe_s"),
    RenamedKey(("limits", "client"), "lag_ms", "event_loop_lag_ms"),
    RenamedKey(("limits", "client"), "late_ms", "schedule_lag_ms"),
    RenamedKey(("limits", "client"), "late_median_ms", "schedule_lag_median_ms"),
    RenamedKey(("server",), "cpu_tier_mb", "cpu_offload_mib"),
    RenamedKey(("faults", ANY_ITEM, "params"), "by", "trigger_on"),
    RenamedKey(("faults", ANY_ITEM, "params"), "for_s", "duration_s"),
)
RENAMED_SETTINGS = {key.old: key.new for key in RENAMED_IN_SCENARIOS if key.parents == ("server",)}
"""New names of settings of the server, by their old names."""
RENAMED_IN_PLANS = (
    RenamedKey((), "join", "listen"),
    *(RenamedKey(("scenario", *key.parents), key.old, key.new) for key in RENAMED_IN_SCENARIOS),
)


def plan_of_today(plan: Value) -> Value:
    """The content of run.yaml; of version 1 with today's names, and as of today's version."""
    if not isinstance(plan, dict) or not _is_version_1(plan.get("schema_version")):
        return plan
    today = deepcopy(plan)
    for key in RENAMED_IN_PLANS:
        for parent in _parents_of(today, key).values():
            parent[key.new] = parent.pop(key.old)
    return {**today, "schema_version": SCHEMA_VERSION}


def _is_version_1(version: Value) -> bool:
    return version == 1 and not isinstance(version, bool | float)


def renamed_in(scenario: Value) -> str | None:
    """One line about the first old key in the content of a scenario file; None: it has none."""
    for key in RENAMED_IN_SCENARIOS:
        for path in _parents_of(scenario, key):
            return f"{path}.{key.old}: is named {key.new} now"
    return None


def _parents_of(content: Value, key: RenamedKey) -> dict[str, dict[str, Value]]:
    """The mappings in the content that have the key by its old name, by their paths."""
    found: dict[str, Value] = {"": content}
    for name in key.parents:
        found = dict(each for path, value in found.items() for each in _below(path, value, name))
    return {path: value for path, value in found.items() if isinstance(value, dict) and key.old in value}


def _below(path: str, value: Value, name: str) -> Iterator[tuple[str, Value]]:
    if name == ANY_ITEM and isinstance(value, list):
        yield from ((f"{path}.{number}", item) for number, item in enumerate(value))
    elif isinstance(value, dict) and name in value:
        yield f"{path}.{name}" if path else name, value[name]
