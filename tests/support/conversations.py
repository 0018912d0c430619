"""Conversations with a workload: its next prompts, given how it is answered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from loadtests.workloads import KINDS, Prompt, Workload
from loadtests.workloads.workload import Stage

ENDLESS = sorted(set(KINDS) - {"trace"})
"""Kinds of workload that need no parameter and have no end."""

Answer = Callable[[Prompt], tuple[int, ...]]


def echo(prompt: Prompt) -> tuple[int, ...]:
    """As many tokens as were asked for, always the same ones to the same prompt."""
    return tuple(hashlib.shake_256(repr(prompt.token_ids).encode()).digest(prompt.max_tokens))


def talk(workload: Workload, number: int, answer: Answer = echo) -> list[Stage]:
    """All stages of a conversation."""
    script = workload.script(number)
    stages = [next(script)]
    while True:
        try:
            stages.append(script.send([answer(prompt) for prompt in stages[-1].prompts]))
        except StopIteration:
            return stages


def prompts(workload: Workload, number: int) -> list[Prompt]:
    """All requests of a conversation."""
    return [prompt for stage in talk(workload, number) for prompt in stage.prompts]


def only(workload: Workload, index: int) -> Prompt:
    """The request of a workload whose conversations are one request each."""
    (prompt,) = prompts(workload, index)
    return prompt


def fingerprint(workload: Workload) -> str:
    """Of its first 50 conversations."""
    return hashlib.sha256(repr([talk(workload, number) for number in range(50)]).encode()).hexdigest()
