"""Workloads: the prompts and parameters of requests, by kind; `build` makes one from a scenario."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import ValidationError

from history.scenario import Param, WorkloadSpec
from history.strict_model import Strict, first_problem
from loadtests.workloads.multi_turn import AgentLoop, AgentLoopParams, Chat, ChatParams
from loadtests.workloads.one_shot import (
    LongDocument,
    LongDocumentParams,
    MidPrefillPreemption,
    MidPrefillPreemptionParams,
    MixedSizes,
    MixedSizesParams,
    SharedPrefix,
    SharedPrefixParams,
    Unique,
    UniqueParams,
)
from loadtests.workloads.shared_prefix_mixes import AbortMix, AbortMixParams, ParameterMix, ParameterMixParams
from loadtests.workloads.trace import Trace, TraceParams
from loadtests.workloads.workload import Prompt, Workload

__all__ = ["KINDS", "PATH_PARAM", "Prompt", "Workload", "build"]

PATH_PARAM = "path"
"""The parameter that names a file, whatever the kind; a scenario gives it from its own folder."""

Params = TypeVar("Params", bound=Strict)
Builder = Callable[[Mapping[str, Param], str, int], Workload]


def _builder(model: type[Params], make: Callable[[Params, str, int], Workload]) -> Builder:
    return lambda params, name, seed: make(model.model_validate(params), name, seed)


KINDS: dict[str, Builder] = {
    "abort_mix": _builder(AbortMixParams, AbortMix),
    "agent_loop": _builder(AgentLoopParams, AgentLoop),
    "chat": _builder(ChatParams, Chat),
    "long_document": _builder(LongDocumentParams, LongDocument),
    "mid_prefill_preemption": _builder(MidPrefillPreemptionParams, MidPrefillPreemption),
    "mixed_sizes": _builder(MixedSizesParams, MixedSizes),
    "parameter_mix": _builder(ParameterMixParams, ParameterMix),
    "shared_prefix": _builder(SharedPrefixParams, SharedPrefix),
    "trace": _builder(TraceParams, Trace),
    "unique": _builder(UniqueParams, Unique),
}


def build(spec: WorkloadSpec, name: str, seed: int) -> Workload:
    """The workload a scenario names. Raises ValueError, one line: unknown kind, bad parameters."""
    builder = KINDS.get(spec.kind)
    if builder is None:
        raise ValueError(f"workload {name}: no kind {spec.kind!r}; there are {', '.join(sorted(KINDS))}")
    try:
        return builder(spec.params, name, seed)
    except ValidationError as error:
        raise ValueError(f"workload {name}: {first_problem(error)}") from error
