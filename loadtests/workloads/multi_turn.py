"""Conversations whose prompts hold the answers so far: chats of people, and loops of agents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from loadtests.workloads.dimensions import LENGTH, WIDTH
from loadtests.workloads.workload import (
    NUMBER_TOKENS,
    Draw,
    Lengths,
    OutputRange,
    Prompt,
    Script,
    Stage,
    WorkloadKind,
    history_id,
    in_rounds,
    length,
    number_tokens,
)


class AgentLoopParams(OutputRange):
    """Parameters of `agent_loop`. Lengths are tokens."""

    agents: Annotated[int, WIDTH] = Field(default=8, ge=1, le=1_000_000)
    """Distinct tasks; every one is worked on once before any is again."""
    tools_tokens: Annotated[int, LENGTH] = Field(default=128, ge=0)
    """What all agents begin with."""
    task_tokens: Annotated[int, LENGTH] = Field(default=32, ge=NUMBER_TOKENS)
    steps: int = Field(default=6, ge=1, le=1000)
    result_tokens: Annotated[int, LENGTH] = Field(default=32, ge=NUMBER_TOKENS)
    """Tokens of a tool's result, and of what a request of a burst adds to the context."""
    burst: int = Field(default=3, ge=1, le=1000)
    """Requests at once in a burst; their answers all go into the context."""
    burst_every: int = Field(default=3, ge=1)
    """Every so many steps are a burst, the first such step being this one."""
    min_tool_s: float = Field(default=0.02, ge=0)
    """Shortest time from the end of an answer to the next step."""
    max_tool_s: float = Field(default=0.2, ge=0)
    min_output: Annotated[int, LENGTH] = Field(default=8, ge=1)
    max_output: Annotated[int, LENGTH] = Field(default=32, ge=1)

    @model_validator(mode="after")
    def _times_in_order(self) -> AgentLoopParams:
        if self.min_tool_s > self.max_tool_s:
            raise ValueError("min_tool_s is larger than max_tool_s")
        return self

    def widths(self) -> Iterator[int]:
        """Requests at once in each step."""
        for step in range(1, self.steps + 1):
            yield 1 if step % self.burst_every else self.burst


class AgentLoop:
    """A context that grows with every answer and every result of a tool, and steps with several calls.

    An agent comes back much sooner than a person, always with a longer context, and now and then as a burst
    of requests that share all of it. Same task, same results of tools; same answers, same contexts.
    """

    def __init__(self, params: AgentLoopParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def chain_length(self) -> int:
        """Requests of one task."""
        return sum(self._params.widths())

    @property
    def distinct(self) -> int:
        """Number of distinct tasks."""
        return self._params.agents

    @property
    def longest(self) -> int:
        """The most tokens of a context with its answer."""
        params = self._params
        answers = self.chain_length * params.max_output
        return params.tools_tokens + params.task_tokens + answers + params.steps * params.result_tokens

    def script(self, number: int) -> Script:
        """The requests of a task, step by step; each prompt contains the answers before it."""
        params, draw = self._params, self._draw
        agent = in_rounds(draw, params.agents, number)
        context = draw.tokens(params.tools_tokens, "tools") + number_tokens(agent)
        context += draw.tokens(params.task_tokens - NUMBER_TOKENS, "task", agent)
        for step, width in enumerate(params.widths()):
            calls = tuple(self._call(context, agent, step, call) for call in range(width))
            tool_s = draw.uniform(params.min_tool_s, params.max_tool_s, "tool", number, step)
            answers = yield Stage(calls, tool_s if step else 0.0)
            for answer in answers:
                context += answer
            context += draw.tokens(params.result_tokens, "result", agent, step)

    def _call(self, context: tuple[int, ...], agent: int, step: int, call: int) -> Prompt:
        params, draw = self._params, self._draw
        rest = draw.tokens(params.result_tokens - NUMBER_TOKENS, "call", agent, step, call)
        tokens = context + number_tokens(call) + rest
        return Prompt(
            prompt_id=history_id(self._name, agent, step, tokens),
            token_ids=tokens,
            max_tokens=draw.integer(params.min_output, params.max_output, "output", agent, step, call),
        )


class ChatParams(OutputRange):
    """Parameters of `chat`. Lengths are tokens."""

    conversations: Annotated[int, WIDTH] = Field(default=12, ge=1, le=1_000_000)
    """Distinct conversations; each takes place once before any is repeated."""
    turns: int = Field(default=4, ge=1, le=1000)
    system_tokens: Annotated[int, LENGTH] = Field(default=64, ge=0)
    """What all conversations begin with."""
    user_tokens: Annotated[int, LENGTH] = Field(default=48, ge=NUMBER_TOKENS)
    """What a user says in a turn: this long, or between `min_user_tokens` and this."""
    min_user_tokens: Annotated[int | None, LENGTH] = Field(default=None, ge=NUMBER_TOKENS)
    lengths: Lengths = "uniform"
    min_think_s: float = Field(default=0.2, ge=0)
    """Shortest time from the end of an answer to the next turn."""
    max_think_s: float = Field(default=1.0, ge=0)

    @model_validator(mode="after")
    def _fits_together(self) -> ChatParams:
        if self.min_think_s > self.max_think_s:
            raise ValueError("min_think_s is larger than max_think_s")
        if self.min_user_tokens is not None and self.min_user_tokens > self.user_tokens:
            raise ValueError("min_user_tokens is larger than user_tokens")
        return self


class Chat:
    """Conversations of several turns. Each turn sends all that was said so far, also the server's answers.

    While a user thinks, others talk: when the turn comes back, its blocks have left the device. That is what
    offloading is for. A conversation is repeated with the same user turns; same answers, same prompts.
    """

    def __init__(self, params: ChatParams, name: str, seed: int) -> None:
        self._params = params
        self._name = name
        self._draw = Draw.of(seed, name, params)

    @property
    def chain_length(self) -> int:
        """Turns of one conversation."""
        return self._params.turns

    @property
    def distinct(self) -> int:
        """Number of distinct conversations."""
        return self._params.conversations

    @property
    def longest(self) -> int:
        """The most tokens of a conversation with its last answer."""
        params = self._params
        return params.system_tokens + params.turns * (params.user_tokens + params.max_output)

    def script(self, number: int) -> Script:
        """The turns of a conversation; each prompt contains the answers before it."""
        params, draw = self._params, self._draw
        talk = in_rounds(draw, params.conversations, number)
        history = draw.tokens(params.system_tokens, "system")
        for turn in range(params.turns):
            history += self._says(talk, turn)
            prompt = Prompt(
                prompt_id=history_id(self._name, talk, turn, history),
                token_ids=history,
                max_tokens=draw.integer(params.min_output, params.max_output, "output", talk, turn),
            )
            # By the number, not the talk: who comes again takes another time to think.
            think_s = draw.uniform(params.min_think_s, params.max_think_s, "think", number, turn)
            (answer,) = yield Stage((prompt,), think_s if turn else 0.0)
            history += answer

    def _says(self, talk: int, turn: int) -> tuple[int, ...]:
        params = self._params
        bounds = (params.min_user_tokens, params.user_tokens)
        tokens = length(self._draw, params.lengths, *bounds, "user length", talk, turn)
        return number_tokens(talk) + self._draw.tokens(tokens - NUMBER_TOKENS, "user", talk, turn)


WORKLOADS = (
    WorkloadKind("agent_loop", AgentLoopParams, AgentLoop),
    WorkloadKind("chat", ChatParams, Chat),
)
