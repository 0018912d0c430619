"""What the prompts of a scenario amount to: distinct tokens, returning tokens, lengths. Pure.

Counted over the requests of all phases in their order, with answers of the longest length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from history.phase_spec import PhaseSpec
from history.scaling import CachePressure
from history.scenario import Scenario, ServerSettings
from kvchaos.stacks.server_command import KEPT_BLOCKS
from loadtests import workloads
from loadtests.workloads import Prompt, Workload
from loadtests.workloads.workload import Answers

SEED = 0
"""Sizes do not depend on it, but for the draws of lengths between bounds."""


@dataclass(frozen=True, slots=True)
class ScenarioLoad:
    """Sums over the requests of a scenario."""

    requests: int
    prompt_tokens: int
    answer_tokens: int
    """With every answer as long as its request allows."""
    distinct_tokens: int
    """Tokens of prompts, those of a common prefix counted once."""
    streams: int
    """The most requests in flight at once."""


def scenario_load(scenario: Scenario) -> ScenarioLoad:
    """Count the blocks of a scenario's prompts. Raises ValueError for a workload that cannot be built."""
    built = {name: workloads.build(spec, name, SEED) for name, spec in scenario.workloads.items()}
    requests = prompt_tokens = answer_tokens = 0
    prefixes: set[int] = set()
    for phase in scenario.phases:
        for prompt in _prompts(built[phase.workload], phase):
            requests += 1
            prompt_tokens += len(prompt.token_ids)
            answer_tokens += prompt.max_tokens
            prefixes.update(prefix_keys(prompt.token_ids))
    streams = max(phase.concurrency for phase in scenario.phases)
    return ScenarioLoad(requests, prompt_tokens, answer_tokens, len(prefixes), streams)


def prefix_keys(tokens: tuple[int, ...]) -> Iterator[int]:
    """A key for each token of a prompt together with all before it. Numbers hash alike in every process."""
    key = 0
    for token in tokens:
        key = hash((key, token))
        yield key


def pressure_of(
    load: ScenarioLoad, settings: ServerSettings, device_tokens: int, tier_tokens: int | None
) -> CachePressure:
    """The pressure of a load on caches of these sizes, tokens."""
    working_set = load.distinct_tokens
    mean_prompt = load.prompt_tokens / load.requests
    mean_answer = load.answer_tokens / load.requests
    return CachePressure(
        working_set_over_device=round(working_set / device_tokens, 3),
        working_set_over_caches=(
            None if tier_tokens is None else round(working_set / (device_tokens + tier_tokens), 3)
        ),
        streams_over_fit=round(load.streams * (mean_prompt + mean_answer) / device_tokens, 3),
        prompt_share=round(mean_prompt / settings.max_model_len, 3),
        answer_share=round(mean_answer / settings.max_model_len, 3),
        chunks=round(mean_prompt / settings.max_batched_tokens, 3),
        returning_share=round(1 - load.distinct_tokens / load.prompt_tokens, 3),
    )


def device_tokens(settings: ServerSettings) -> int:
    """Tokens that the KV blocks of a server hold for requests."""
    return (settings.gpu_blocks - KEPT_BLOCKS) * settings.block_size


def _prompts(workload: Workload, phase: PhaseSpec) -> Iterator[Prompt]:
    """The requests of a phase, conversation by conversation."""
    length = workload.chain_length
    for number in range(phase.first // length, (phase.first + phase.requests) // length):
        script = workload.script(number)
        try:
            stage = next(script)
            while True:
                yield from stage.prompts
                stage = script.send(_answers(stage.prompts))
        except StopIteration:
            continue


def _answers(prompts: tuple[Prompt, ...]) -> Answers:
    """Answers of the longest length, no two alike."""
    return [
        tuple(hashlib.shake_256(prompt.prompt_id.encode()).digest(prompt.max_tokens)) for prompt in prompts
    ]
