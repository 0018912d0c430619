"""Only the context of a prompt has its marker, and it follows the key that ends the prompt."""

from __future__ import annotations

import pytest

from history.scenario import Param, WorkloadSpec
from loadtests.workloads import Workload, build
from loadtests.workloads.marked_prefixes import KEY_TOKENS, MARKER_TOKENS
from loadtests.workloads.workload import Prompt
from tests.support.conversations import only

LENGTHS = {"prefix_tokens": 160, "suffix_tokens": 20, "segment_tokens": 32}


def marked(**params: Param) -> Workload:
    spec = WorkloadSpec(kind="marked_prefix", params={"prefixes": 4, "prompts": 20, **LENGTHS, **params})
    return build(spec, "w", 3)


def the_prompts(workload: Workload) -> list[Prompt]:
    assert workload.distinct is not None
    return [only(workload, index) for index in range(workload.distinct)]


def positions(tokens: tuple[int, ...], part: tuple[int, ...]) -> list[int]:
    return [start for start in range(len(tokens)) if tokens[start : start + len(part)] == part]


def test_marker_follows_the_key_that_ends_the_prompt() -> None:
    for prompt in the_prompts(marked()):
        key = prompt.token_ids[-KEY_TOKENS:]
        first, last = positions(prompt.token_ids, key)
        assert last == len(prompt.token_ids) - KEY_TOKENS
        start = first + KEY_TOKENS
        assert prompt.token_ids[start : start + MARKER_TOKENS] == prompt.marker


def test_prompt_of_another_prefix_does_not_have_the_marker() -> None:
    found = the_prompts(marked())
    for prompt in found:
        with_it = {other.token_ids[:160] for other in found if positions(other.token_ids, prompt.marker)}
        assert with_it == {prompt.token_ids[:160]}


def test_few_prompts_of_long_prefixes_cover_early_and_late_segments() -> None:
    length, segments = 55 * 32, 55
    workload = marked(prefixes=12, prompts=36, prefix_tokens=length)
    starts = [positions(prompt.token_ids, prompt.marker)[0] // 32 for prompt in the_prompts(workload)]
    assert min(starts) < segments // 4
    assert max(starts) >= segments * 3 // 4
    assert len({*starts}) > segments // 4


def test_keys_are_the_same_in_prefixes_of_different_lengths() -> None:
    workload = marked(min_prefix_tokens=64)
    tokens = [prompt.token_ids for prompt in the_prompts(workload)]
    assert len({len(each) for each in tokens}) > 1
    for start in (0, 32):
        assert len({each[start : start + KEY_TOKENS] for each in tokens}) == 1


def test_prompt_and_answer_are_as_long_as_those_of_shared_prefix() -> None:
    params: dict[str, Param] = {"prefixes": 4, "prompts": 20, "prefix_tokens": 160, "suffix_tokens": 20}
    for workload in (marked(), build(WorkloadSpec(kind="shared_prefix", params=params), "w", 3)):
        found = the_prompts(workload)
        assert {len(prompt.token_ids) for prompt in found} == {180}
        assert {16 <= prompt.max_tokens <= 64 for prompt in found} == {True}


def test_new_prompts_have_no_marker() -> None:
    workload = marked(cold_share=1.0)
    assert {only(workload, index).marker for index in range(20)} == {()}


@pytest.mark.parametrize(
    "params", [{"prefix_tokens": 31}, {"min_prefix_tokens": 31}, {"segment_tokens": 11}, {"suffix_tokens": 7}]
)
def test_load_without_room_for_a_marker_is_refused(params: dict[str, Param]) -> None:
    with pytest.raises(ValueError, match=r"^workload w: "):
        marked(**params)
