"""Markers in the prompts of scenarios that a real model serves, which recalls its context."""

from __future__ import annotations

from history.scenario import Scenario, WorkloadSpec
from loadtests.workloads.marked_prefixes import MARKED, MarkedPrefixParams
from loadtests.workloads.one_shot import SHARED


def with_markers(scenario: Scenario) -> Scenario:
    """The scenario with `marked_prefix` in place of `shared_prefix`, where prompts have room for markers."""
    workloads = {name: _marked(spec) for name, spec in scenario.workloads.items()}
    return scenario.model_copy(update={"workloads": workloads})


def _marked(spec: WorkloadSpec) -> WorkloadSpec:
    if spec.kind != SHARED:
        return spec
    try:
        MarkedPrefixParams.model_validate(spec.params)
    except ValueError:
        return spec
    return spec.model_copy(update={"kind": MARKED})
