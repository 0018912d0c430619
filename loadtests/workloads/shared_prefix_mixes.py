"""Shared prefixes with a mix of parameters, or of clients that leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pydantic import Field, model_validator

from loadtests.workloads.one_shot import SharedPrefix, SharedPrefixParams
from loadtests.workloads.workload import SAMPLING_SEED, Abort, Message, Prompt, Sampling, WorkloadKind

STOPS = ("a", "e", "0", " ")
STOP_TOKENS = 24
TOKENS = 256
MAX_LOGPROBS = 5
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"


def text_of(tokens: Sequence[int]) -> str:
    """A letter for each token. Tokens of all sorts need not be text."""
    return "".join(LETTERS[token % len(LETTERS)] for token in tokens)


def rendered(messages: Sequence[Message]) -> tuple[int, ...]:
    """What the tiny model's chat template makes of messages: a token for each byte. Messages are ASCII.

    Of another model's template nothing is known here, so how many tokens it makes of a message is not either.
    """
    text = "".join(f"{message.role}: {message.content}\n" for message in messages)
    return tuple(f"{text}assistant: ".encode("ascii"))


def as_dialogue(tokens: Sequence[int], begin: int) -> tuple[Message, ...]:
    """A prompt's first `begin` tokens as the system message, the others as a user message."""
    return Message("system", text_of(tokens[:begin])), Message("user", text_of(tokens[begin:]))


OVERHEAD = len(rendered((Message("system", ""), Message("user", ""))))
"""Tokens that the template adds to such a dialogue."""


class ParameterMixParams(SharedPrefixParams):
    """Each share is of the prompts; 0 leaves the parameter alone."""

    sampled_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """A temperature and a seed. vLLM on a CPU dies of a seed when it reads the prompt in chunks: its
    generators cannot be set back there."""
    several_share: float = Field(default=0.4, ge=0.0, le=1.0)
    """2 to `max_n` answers; where they are not sampled, each is the likeliest one."""
    max_n: int = Field(default=3, ge=2, le=16)
    temperature: float = Field(default=0.8, gt=0.0, le=2.0)
    """Temperature of the requests that sample."""
    stop_share: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of requests with a stop condition: half by text, half by token."""
    prompt_logprobs_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Not streamed, and read without a cache's help."""
    salt_share: float = Field(default=0.3, ge=0.0, le=1.0)
    salts: int = Field(default=2, ge=1)
    priorities: int = Field(default=1, ge=1)
    """Number of priorities, from 0. More than one needs a server with `--scheduling-policy priority`."""
    chat_share: float = Field(default=0.0, ge=0.0, le=1.0)
    """Share of chat completions, with the prefix as system message; only for the tiny model."""


class ParameterMix(SharedPrefix):
    """Shared prefixes, sent with all that the API offers: chats, many answers, sampling, stops, logprobs.

    Each of these takes another way through scheduler and cache. A prompt has its parameters for good, so that
    its answers can be compared: several answers are all the likeliest one, what is sampled has a seed.
    Lengths, prompts and order are those of the shared prefix.
    """

    def __init__(self, params: ParameterMixParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)
        self._mix = params

    @property
    def chats(self) -> bool:
        """Some of it goes through the server's chat template."""
        return self._mix.chat_share > 0

    @property
    def longest(self) -> int:
        """The most tokens of a prompt with its answer, the chat template included."""
        return super().longest + (OVERHEAD if self.chats else 0)

    def request(self, index: int) -> Prompt:
        """The prompt of a request with its parameters, by its index in the workload."""
        prompt = super().request(index)
        request = replace(prompt, sampling=self._sampling(prompt.prompt_id))
        return (
            self._as_chat(request)
            if self._chosen("chat", self._mix.chat_share, prompt.prompt_id)
            else request
        )

    def _as_chat(self, prompt: Prompt) -> Prompt:
        # What all prompts have of their prefix, however long it is.
        begin = self._mix.min_prefix_tokens or self._mix.prefix_tokens
        messages = as_dialogue(prompt.token_ids, begin)
        return replace(prompt, messages=messages, token_ids=rendered(messages))

    def _sampling(self, prompt: str) -> Sampling:
        mix, draw = self._mix, self._draw
        sampled = self._chosen("sampled", mix.sampled_share, prompt)
        several = self._chosen("several", mix.several_share, prompt)
        stops = not several and self._chosen("stop", mix.stop_share, prompt)
        by_text = draw.share("stop by text", prompt) < 0.5
        echoed = self._chosen("prompt logprobs", mix.prompt_logprobs_share, prompt)
        salted = self._chosen("salt", mix.salt_share, prompt)
        return Sampling(
            n=draw.integer(2, mix.max_n, "n", prompt) if several else 1,
            temperature=mix.temperature if sampled or several else 0.0,
            top_k=1 if several and not sampled else None,
            seed=self._seed(prompt, sampled=sampled, several=several),
            logprobs=draw.integer(0, MAX_LOGPROBS, "logprobs", prompt),
            prompt_logprobs=draw.integer(1, MAX_LOGPROBS, "prompt logprobs", prompt) if echoed else None,
            stop=STOPS if stops and by_text else (),
            stop_token_ids=self._stop_tokens(prompt) if stops and not by_text else (),
            priority=draw.integer(0, mix.priorities - 1, "priority", prompt),
            cache_salt=f"salt-{draw.integer(1, mix.salts, 'salt', prompt)}" if salted else None,
        )

    def _seed(self, prompt: str, *, sampled: bool, several: bool) -> int | None:
        if sampled:
            return self._draw.integer(0, 2**31 - 1, "seed", prompt)
        return None if several else SAMPLING_SEED

    def _chosen(self, what: str, share: float, prompt: str) -> bool:
        return self._draw.share(f"{what} share", prompt) < share

    def _stop_tokens(self, prompt: str) -> tuple[int, ...]:
        chosen = self._draw.random(("stop tokens", prompt)).sample(range(TOKENS), STOP_TOKENS)
        return tuple(sorted(chosen))


class AbortMixParams(SharedPrefixParams):
    """Parameters of `abort_mix`.

    A client aborts by elapsed time or by tokens received. In which state of the server that happens, the load
    decides. With more requests in flight than run at once, the short times end in the queue.
    """

    queued_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """Leave within `queued_ms`: most before their prompt is touched."""
    queued_ms: float = Field(default=5.0, gt=0)
    prefill_share: float = Field(default=0.15, ge=0.0, le=1.0)
    """Leave between `queued_ms` and `prefill_ms`."""
    prefill_ms: float = Field(default=100.0, gt=0)
    answer_share: float = Field(default=0.2, ge=0.0, le=1.0)
    """Leave when so many tokens of the answer have come, from the first to the last but one."""

    @model_validator(mode="after")
    def _shares_fit(self) -> AbortMixParams:
        if self.queued_share + self.prefill_share + self.answer_share > 1:
            raise ValueError("the shares are more than 1 together")
        if self.queued_ms > self.prefill_ms:
            raise ValueError("queued_ms is larger than prefill_ms")
        return self


class AbortMix(SharedPrefix):
    """Shared prefixes, sent by clients that leave: in the queue, in prefill, in mid-answer.

    The server has to free the blocks of a request whose client left, also those being stored or loaded for
    it. The first round is answered to the end, so that a golden phase has an answer to every prompt.
    """

    def __init__(self, params: AbortMixParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)
        self._mix = params

    def request(self, index: int) -> Prompt:
        """The prompt of a request with its abort, by its index; none aborts in the first round."""
        prompt = super().request(index)
        if index < self._mix.prompts:
            return prompt
        return replace(prompt, abort=self._abort(index, prompt.max_tokens))

    def _abort(self, index: int, max_tokens: int) -> Abort | None:
        mix, draw = self._mix, self._draw
        lot = draw.share("leave", index)
        if lot < mix.queued_share:
            return Abort(after_s=draw.uniform(0, mix.queued_ms, "patience", index) / 1000)
        lot -= mix.queued_share
        if lot < mix.prefill_share:
            return Abort(after_s=draw.uniform(mix.queued_ms, mix.prefill_ms, "patience", index) / 1000)
        lot -= mix.prefill_share
        if lot < mix.answer_share and max_tokens > 1:
            return Abort(after_tokens=draw.integer(1, max_tokens - 1, "patience", index))
        return None


WORKLOADS = (
    WorkloadKind("abort_mix", AbortMixParams, AbortMix),
    WorkloadKind("parameter_mix", ParameterMixParams, ParameterMix),
)
