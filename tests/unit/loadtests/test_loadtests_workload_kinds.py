"""Each kind of workload has to be the load that its name says, or a verdict speaks of another one."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import pairwise

import jinja2
import pytest

from history.scenario import Param, WorkloadSpec
from kvchaos.servers.tiny_model import CHAT_TEMPLATE
from loadtests.workloads import Workload, build
from loadtests.workloads.shared_prefix_mixes import OVERHEAD, as_dialogue, rendered
from loadtests.workloads.workload import Prompt, Sampling
from tests.support.conversations import ENDLESS, echo, only, prompts, talk


def make(kind: str, **params: Param) -> Workload:
    return build(WorkloadSpec(kind=kind, params=params), "w", 3)


def no_answer(prompt: Prompt) -> tuple[int, ...]:
    return ()


@pytest.mark.parametrize("kind", ENDLESS)
def test_equal_prompt_ids_are_equal_prompts_with_equal_parameters(kind: str) -> None:
    workload = make(kind)
    by_id: dict[str, tuple[object, ...]] = {}
    for number in range(120):
        for prompt in prompts(workload, number):
            request = (prompt.token_ids, prompt.max_tokens, prompt.sampling)
            assert by_id.setdefault(prompt.prompt_id, request) == request


@pytest.mark.parametrize("kind", ["agent_loop", "chat"])
def test_different_answer_changes_the_next_prompt(kind: str) -> None:
    workload = make(kind)
    true = talk(workload, 0)
    wrong = talk(workload, 0, no_answer)
    assert true[0] == wrong[0]
    for stage, other in zip(true[1:], wrong[1:], strict=True):
        ids = {prompt.prompt_id for prompt in (*stage.prompts, *other.prompts)}
        assert len(ids) == 2 * len(stage.prompts)


@pytest.mark.parametrize("kind", ["agent_loop", "chat"])
def test_every_turn_contains_the_whole_conversation(kind: str) -> None:
    stages = talk(make(kind, system_tokens=9) if kind == "chat" else make(kind), 0)
    for before, after in pairwise(stages):
        context = before.prompts[0].token_ids if kind == "chat" else _common(before.prompts)
        for prompt in after.prompts:
            assert prompt.token_ids[: len(context)] == context
        history = repr(after.prompts[0].token_ids)
        assert all(repr(echo(prompt))[1:-1] in history for prompt in before.prompts)


def _common(prompts: tuple[Prompt, ...]) -> tuple[int, ...]:
    """What an agent's calls share: all but the part of their own at the end."""
    return prompts[0].token_ids[:-32]


def test_repeated_conversation_has_the_same_prompts() -> None:
    workload = make("chat", conversations=5)
    first = {prompts(workload, number)[-1] for number in range(5)}
    second = {prompts(workload, number)[-1] for number in range(5, 10)}
    assert first == second
    assert len(first) == 5


def test_users_think_between_turns_and_not_before_the_first() -> None:
    workload = make("chat", turns=5, min_think_s=0.5, max_think_s=2.0)
    pauses = [[stage.pause_s for stage in talk(workload, number)] for number in range(20)]
    assert all(first == 0.0 for first, *_ in pauses)
    later = [pause for _, *rest in pauses for pause in rest]
    assert all(0.5 <= pause <= 2.0 for pause in later)
    assert len(set(later)) == len(later)


def test_requests_of_an_agent_burst_share_the_whole_context() -> None:
    stages = talk(make("agent_loop", steps=6, burst=4, burst_every=3), 0)
    assert [len(stage.prompts) for stage in stages] == [1, 1, 4, 1, 1, 4]
    calls = [prompt.token_ids for prompt in stages[2].prompts]
    assert len({call[:-32] for call in calls}) == 1
    assert len(set(calls)) == 4


def test_documents_repeat_after_all_others_were_used() -> None:
    workload = make("long_document", documents=4, document_tokens=100, questions=3)
    requests = [only(workload, index).token_ids for index in range(24)]
    for begin in range(0, 24, 4):
        assert len({tokens[:100] for tokens in requests[begin : begin + 4]}) == 4
    assert len({tokens[:100] for tokens in requests}) == 4
    assert len(set(requests[:12])) == 12
    assert set(requests[12:]) == set(requests[:12])


def test_sizes_are_short_and_long_as_shared_out() -> None:
    sizes = [len(only(make("mixed_sizes"), index).token_ids) for index in range(40)]
    assert sum(256 <= size <= 640 for size in sizes) == 8
    assert sum(8 <= size <= 96 for size in sizes) == 32
    assert sizes != sorted(sizes)


def test_lognormal_lengths_crowd_around_their_middle() -> None:
    sizes = [
        len(only(make("mixed_sizes", prompts=400, large_share=0.0), index).token_ids) for index in range(400)
    ]
    # Half lie below the geometric middle of 8 and 96, which is a fifth of the way up.
    assert 160 < sum(size < 28 for size in sizes) < 240


def test_prefixes_have_a_length_each_and_keep_it() -> None:
    workload = make("shared_prefix", prefixes=6, prompts=24, min_prefix_tokens=40, suffix_tokens=16)
    sizes = {prompt.prompt_id: len(prompt.token_ids) for prompt in (only(workload, i) for i in range(24))}
    assert len(set(sizes.values())) == 6
    assert all(sizes[f"w-{number}"] == sizes[f"w-{number % 6}"] for number in range(24))
    assert all(56 <= size <= 336 for size in sizes.values())


def test_cold_prompts_share_no_prefix_and_match_their_count() -> None:
    workload = make("shared_prefix", cold_share=0.25)
    generated = [only(workload, index) for index in range(800)]
    cold = [prompt for prompt in generated if "-cold-" in prompt.prompt_id]
    assert 150 < len(cold) < 250
    assert len({prompt.token_ids[:8] for prompt in cold}) == len(cold)
    assert {prompt.prompt_id for prompt in generated} - {prompt.prompt_id for prompt in cold} <= {
        f"w-{number}" for number in range(32)
    }
    assert workload.distinct is None


def test_client_aborts_match_the_configured_shares() -> None:
    workload = make("abort_mix", queued_ms=5.0, prefill_ms=100.0)
    ways: Counter[str] = Counter()
    for prompt in (only(workload, index) for index in range(32, 1032)):
        abort = prompt.abort
        if abort is None:
            ways["stays"] += 1
        elif abort.after_tokens is not None:
            assert 1 <= abort.after_tokens < prompt.max_tokens
            ways["answer"] += 1
        elif abort.after_s is not None:
            assert 0 <= abort.after_s <= 0.1
            ways["queued" if abort.after_s <= 0.005 else "prefill"] += 1
    assert 100 < ways["queued"] < 200
    assert 100 < ways["prefill"] < 200
    assert 150 < ways["answer"] < 250
    assert 400 < ways["stays"] < 600


def test_first_round_has_no_client_aborts() -> None:
    workload = make("abort_mix", prompts=20)
    first = [only(workload, index) for index in range(20)]
    assert all(prompt.abort is None for prompt in first)
    assert len({prompt.prompt_id for prompt in first}) == 20


def test_every_parameter_is_used_and_no_combination_is_one_that_servers_refuse() -> None:
    workload = make("parameter_mix", prompts=200, priorities=3, sampled_share=0.3)
    used = [only(workload, index).sampling for index in range(200)]
    for field in dataclasses.fields(Sampling):
        assert any(getattr(sampling, field.name) != field.default for sampling in used), field.name
    # Several greedy answers to one prompt would be the same one.
    assert all(sampling.temperature > 0 for sampling in used if sampling.n > 1)
    # What is sampled without a seed cannot be compared with anything.
    assert all(sampling.seed is not None or sampling.top_k == 1 for sampling in used)
    # One answer that stops and one that does not have no common finish reason.
    assert all(not (sampling.stop or sampling.stop_token_ids) for sampling in used if sampling.n > 1)


def test_chats_share_a_system_message_per_prefix_and_match_their_share() -> None:
    workload = make("parameter_mix", prompts=200, prefixes=4, chat_share=0.5)
    generated = [only(workload, index) for index in range(200)]
    chats = [prompt for prompt in generated if prompt.messages]
    assert 70 < len(chats) < 130
    system = Counter(prompt.messages[0] for prompt in chats)
    assert len(system) == 4
    assert len({prompt.token_ids for prompt in chats}) == len(chats)
    assert all(prompt.token_ids == rendered(prompt.messages) for prompt in chats)
    assert all(len(prompt.token_ids) + prompt.max_tokens <= workload.longest for prompt in generated)


def test_zero_chat_share_leaves_prompts_unchanged() -> None:
    plain, mixed = make("parameter_mix", prompts=50), make("parameter_mix", prompts=50, chat_share=0.0)
    assert [only(plain, index) for index in range(50)] == [only(mixed, index) for index in range(50)]
    assert not any(only(plain, index).messages for index in range(50))


def test_messages_are_rendered_as_the_tiny_models_template_does() -> None:
    messages = as_dialogue(tuple(range(256)), 100)
    template = jinja2.Template(CHAT_TEMPLATE, keep_trailing_newline=True)
    text = template.render(
        messages=[dataclasses.asdict(each) for each in messages], add_generation_prompt=True
    )
    assert bytes(rendered(messages)).decode() == text
    assert len(rendered(messages)) == 256 + OVERHEAD
