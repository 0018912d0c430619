"""Keys of plans and scenarios that had other names in version 1. Plans of version 1 are read as today's."""

from __future__ import annotations

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


RENAMED_IN_SCENARIOS = (RenamedKey(("limits",), "canary_s", "probe_s"),)


def plan_of_today(plan: Value) -> Value:
    """The content of run.yaml; of version 1 with today's names, and as of today's version."""
    if not isinstance(plan, dict) or not _is_version_1(plan.get("schema_version")):
        return plan
    today = deepcopy(plan)
    for key in RENAMED_IN_SCENARIOS:
        for parent in parents_of(today.get("scenario"), key):
            parent[key.new] = parent.pop(key.old)
    return {**today, "schema_version": SCHEMA_VERSION}


def _is_version_1(version: Value) -> bool:
    return version == 1 and not isinstance(version, bool | float)


def parents_of(content: Value, key: RenamedKey) -> list[dict[str, Value]]:
    """The mappings in the content that have the key by its old name."""
    found = [content]
    for name in key.parents:
        found = [each for value in found for each in _below(value, name)]
    return [value for value in found if isinstance(value, dict) and key.old in value]


def _below(value: Value, name: str) -> list[Value]:
    if name == ANY_ITEM:
        return value if isinstance(value, list) else []
    return [value[name]] if isinstance(value, dict) and name in value else []
