"""A workload that is not the same twice makes golden answers worthless."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.scenario import Param, WorkloadSpec
from loadtests.workloads import Prompt, Workload, build
from tests.support.conversations import ENDLESS, fingerprint, only, prompts, talk

SEEDS = st.integers(min_value=0, max_value=2**63 - 1)
INDICES = st.integers(min_value=0, max_value=2**31)
KIND = st.sampled_from(ENDLESS)
MAX_MODEL_LEN = 768

FINGERPRINT = """
from tests.support.conversations import ENDLESS, fingerprint
from history.scenario import WorkloadSpec
from loadtests.workloads import build
print(fingerprint(build(WorkloadSpec(kind={kind!r}), "w", {seed})))
"""


def make(kind: str, seed: int = 1, name: str = "w", **params: Param) -> Workload:
    return build(WorkloadSpec(kind=kind, params=params), name, seed)


@st.composite
def shared_prefix(draw: st.DrawFn) -> Workload:
    lowest = draw(st.integers(1, 40))
    prompts = draw(st.integers(1, 60))
    return make(
        "shared_prefix",
        seed=draw(SEEDS),
        prefixes=draw(st.integers(1, prompts)),
        prefix_tokens=draw(st.integers(1, 64)),
        suffix_tokens=draw(st.integers(4, 32)),
        prompts=prompts,
        min_output=lowest,
        max_output=lowest + draw(st.integers(0, 40)),
        lengths=draw(st.sampled_from(["uniform", "lognormal"])),
        min_prefix_tokens=1,
        min_suffix_tokens=4,
    )


@pytest.mark.parametrize("kind", ENDLESS)
def test_prompts_are_identical_across_processes_and_hash_seeds(kind: str) -> None:
    here = fingerprint(make(kind, seed=77))
    there = subprocess.run(
        [sys.executable, "-c", FINGERPRINT.format(kind=kind, seed=77)],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": "."},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.strip() == here


@given(kind=KIND, seed=SEEDS, indices=st.lists(INDICES, min_size=2, max_size=6))
def test_request_does_not_depend_on_earlier_requests(kind: str, seed: int, indices: list[int]) -> None:
    forward, backward = make(kind, seed), make(kind, seed)
    first = [talk(forward, index) for index in indices]
    second = [talk(backward, index) for index in reversed(indices)]
    assert first == second[::-1]


@given(kind=KIND, seed=SEEDS, index=INDICES)
def test_seed_and_name_change_the_prompts(kind: str, seed: int, index: int) -> None:
    tokens = prompts(make(kind, seed), index)[0].token_ids
    assert prompts(make(kind, seed + 1), index)[0].token_ids != tokens
    assert prompts(make(kind, seed, name="v"), index)[0].token_ids != tokens


@given(kind=KIND, seed=SEEDS, index=INDICES)
def test_the_defaults_fit_the_tiny_model(kind: str, seed: int, index: int) -> None:
    workload = make(kind, seed)
    chain = prompts(workload, index)
    assert len(chain) == workload.chain_length
    for prompt in chain:
        assert all(0 <= token <= 255 for token in prompt.token_ids)
        assert len(prompt.token_ids) + prompt.max_tokens <= workload.longest <= MAX_MODEL_LEN


@given(workload=shared_prefix(), indices=st.lists(INDICES, max_size=20))
def test_lengths_stay_within_the_bound(workload: Workload, indices: list[int]) -> None:
    for index in indices:
        prompt = only(workload, index)
        assert prompt.max_tokens >= 1
        assert len(prompt.token_ids) + prompt.max_tokens <= workload.longest


@given(workload=shared_prefix())
def test_equal_prompt_ids_mean_equal_prompts_only(workload: Workload) -> None:
    assert workload.distinct is not None
    by_id: dict[str, Prompt] = {}
    for index in range(3 * workload.distinct):
        prompt = only(workload, index)
        assert by_id.setdefault(prompt.prompt_id, prompt) == prompt
    assert len({prompt.token_ids for prompt in by_id.values()}) == len(by_id) == workload.distinct


@given(workload=shared_prefix(), turn=st.integers(0, 1000))
def test_each_round_sends_every_prompt_once(workload: Workload, turn: int) -> None:
    assert workload.distinct is not None
    indices = range(turn * workload.distinct, (turn + 1) * workload.distinct)
    assert len({only(workload, index).prompt_id for index in indices}) == workload.distinct


def test_rounds_are_shuffled_differently() -> None:
    workload = make("shared_prefix", prompts=32)
    rounds = [[only(workload, 32 * turn + i).prompt_id for i in range(32)] for turn in range(2)]
    assert rounds[0] != rounds[1]


def test_prompts_of_a_group_share_exactly_their_prefix() -> None:
    workload = make("shared_prefix", prefixes=4, prompts=20, prefix_tokens=64)
    prompts = {prompt.prompt_id: prompt for prompt in (only(workload, index) for index in range(20))}
    prefixes = [prompts[f"w-{number}"].token_ids[:64] for number in range(20)]
    assert all(prefixes[number] == prefixes[number % 4] for number in range(20))
    assert len(set(prefixes)) == 4


@given(seed=SEEDS, one=INDICES, other=INDICES)
def test_unique_prompts_do_not_even_share_their_first_block(seed: int, one: int, other: int) -> None:
    workload = make("unique", seed)
    smallest_block = 8
    same = only(workload, one).token_ids[:smallest_block] == only(workload, other).token_ids[:smallest_block]
    assert same == (one == other)
    assert workload.distinct is None


def test_mid_prefill_preemption_keeps_the_figures_of_the_known_crash() -> None:
    workload = make("mid_prefill_preemption")
    prompts = [only(workload, index) for index in range(80)]
    assert workload.distinct == 80
    assert len({prompt.token_ids for prompt in prompts}) == 80
    assert len({prompt.token_ids[:560] for prompt in prompts}) == 40
    assert all(560 < len(prompt.token_ids) < 576 for prompt in prompts)
    assert all(37 <= prompt.max_tokens <= 150 for prompt in prompts)
    assert len({prompt.max_tokens for prompt in prompts}) > 20


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        (WorkloadSpec(kind="no-such"), ["no-such", "mid_prefill_preemption, mixed_sizes"]),
        (
            WorkloadSpec(kind="unique", params={"prompt_token": 9}),
            ["prompt_token: ", "prompt_tokens"],
        ),
        (WorkloadSpec(kind="unique", params={"prompt_tokens": "9"}), ["prompt_tokens", "valid integer"]),
        (WorkloadSpec(kind="unique", params={"prompt_tokens": 1}), ["prompt_tokens", "greater than"]),
        (WorkloadSpec(kind="unique", params={"min_output": 9, "max_output": 8}), ["min_output is larger"]),
        (WorkloadSpec(kind="shared_prefix", params={"prefixes": 9, "prompts": 8}), ["more prefixes"]),
    ],
)
def test_malformed_workload_entry_is_named_with_its_location(spec: WorkloadSpec, parts: list[str]) -> None:
    with pytest.raises(ValueError, match="load: ") as caught:
        build(spec, "load", 1)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in parts)
