"""The mutants: what each alters, and which oracles must find it, with which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from history.verdict import Verdict
from kvchaos.sight import acts, streams
from kvchaos.sight.metrics import Answered, Sample, When
from kvchaos.sight.mutation import Mutation
from kvchaos.sight.streams import Foreign, Refused, Stream
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    client,
    counters,
    drained,
    faults,
    ledger,
    logs,
    offload,
    outcomes,
    performance,
    progress,
    resources,
)

LATENCY = "vllm:e2e_request_latency_seconds"
FIRST_TOKENS = "vllm:time_to_first_token_seconds"
MUCH = 1e6
MISS = {"id": "miss", "kind": "lookup_miss", "trigger": {"every": 3, "limit": 2}}
RECOVER_S = 2.0
HOLD_S = 8.0
"""Longer than the traffic's bound of a stall."""
SLOW_S = 4.0
"""Shorter than that."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an oracle must say of a mutant."""

    words: str
    """A regular expression that one of its witnesses matches, or its summary where it has none."""
    verdict: Verdict = Verdict.FAIL


@dataclass(frozen=True)
class Mutant:
    """One way in which traffic, or the run, is made wrong."""

    name: str
    what: str
    mutations: tuple[Mutation, ...]
    kills: Mapping[str, Found]
    """By the oracle's name. All others must pass."""


@dataclass(frozen=True)
class Session:
    """One run with mutants that different oracles find, or one oracle by different words."""

    name: str
    mutants: tuple[Mutant, ...] = ()
    server: Mapping[str, object] = field(default_factory=dict)
    """What the server is started with beside the usual."""
    client: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the client, where they are not the usual ones."""
    load: Mapping[str, float] = field(default_factory=dict)
    """Bounds on the server's speed under load."""
    faults: tuple[Mapping[str, object], ...] = ()
    """Inside the server, under load."""
    limits: Mapping[str, float] = field(default_factory=dict)
    hostile: bool = False
    """The mutant is a fault inside the server, in a scenario of its own."""


def _sample(name: str, what: str, mutations: tuple[Mutation, ...], oracle: str, words: str) -> Mutant:
    return Mutant(name, what, mutations, {oracle: Found(words)})


def _stream(name: str, what: str, mutation: Mutation, **kills: str) -> Mutant:
    return Mutant(name, what, (mutation,), {oracle: Found(words) for oracle, words in kills.items()})


def sessions() -> tuple[Session, ...]:
    """All runs of a proof, made anew: mutations remember what they did."""
    return (
        Session("untouched"),
        Session("one", _one()),
        Session("two", _two()),
        Session("three", _three()),
        Session("four", _four()),
        Session("five", _five()),
        Session("six", _six()),
        Session("broken-streams", _broken_streams()),
        Session("held", (_held(),)),
        Session("false-health", (_false_health(),)),
        Session("slow-client", (_slow_client(),), client={"lag_ms": 50}),
        Session(
            "slow",
            (_slow(),),
            client={"lag_ms": 1000, "late_ms": 1000},
            load={"ttft_p99_ms": 3000},
        ),
        Session("struck", _struck(), faults=(MISS,), limits={"recover_s": RECOVER_S}),
        Session("never-offloaded", (_never_offloaded(),), server={"gpu_blocks": 600}),
        Session("offload-off", (_offload_off(),), server={"offload": False, "chaos": False, "audit": False}),
        Session("lost-end", (_lost_end(),), hostile=True),
    )


def _one() -> tuple[Mutant, ...]:
    return (
        _sample(
            "counter-steps-back",
            "a counter is half of what it was, in one scrape",
            (Sample(f"{LATENCY}_sum", lambda value: value / 2, when=When.ONCE),),
            counters.NAME,
            f"{LATENCY}_sum.* shrank",
        ),
        _stream(
            "other-logprob",
            "one logprob differs in its last bit",
            Stream("load-20", streams.other_logprob),
            answers="load-20 .* at position 3: token",
        ),
        _sample(
            "running-for-ever",
            "one request runs on for ever, by the gauge",
            (Sample("vllm:num_requests_running", lambda _: 1.0, when=When.END),),
            drained.NAME,
            "num_requests_running is 1 after draining",
        ),
        _sample(
            "crash-in-the-log",
            "the log tells that the engine has died",
            (acts.Act(acts.log_a_crash),),
            logs.NAME,
            "the engine loop died",
        ),
        _sample(
            "unplanned-fault",
            "a fault strikes that nobody planned",
            (acts.Act(acts.arm_unplanned),),
            faults.NAME,
            "unplanned fired, which is not in the plan",
        ),
    )


def _two() -> tuple[Mutant, ...]:
    return (
        _sample(
            "nan-sample",
            "a counter is no number, in one scrape",
            (Sample(f"{LATENCY}_sum", lambda _: float("nan"), when=When.ONCE),),
            counters.NAME,
            f"{LATENCY}_sum.* is not a number",
        ),
        _stream(
            "other-token",
            "one token is another",
            Stream("load-20", streams.other_token),
            answers="load-20 .* at position 3: token",
        ),
        _sample(
            "blocks-in-use",
            "blocks are in use for ever, by the gauge",
            (Sample("vllm:kv_cache_usage_perc", lambda _: 0.05, when=When.END),),
            drained.NAME,
            "kv_cache_usage_perc is 0.05 after draining",
        ),
        _stream(
            "wrong-prompt-usage",
            "an answer's usage has one prompt token more",
            Stream("load-21", streams.usage("prompt_tokens", 1)),
            outcomes="load-21 .* usage says .* prompt tokens",
        ),
        _sample(
            "prompt-tokens-overcounted",
            "the server counts 32 prompt tokens too many",
            (Sample("vllm:prompt_tokens_total", lambda value: value + 32),),
            accounting.NAME,
            "prompt tokens by source less .* are not the",
        ),
    )


def _three() -> tuple[Mutant, ...]:
    return (
        _sample(
            "negative-sample",
            "a counter is below zero, in one scrape",
            (Sample(f"{LATENCY}_sum", lambda _: -1.0, when=When.ONCE),),
            counters.NAME,
            f"{LATENCY}_sum.* is negative",
        ),
        Mutant(
            "foreign-answer",
            "a client gets the answer to another's prompt",
            (Foreign("load-20", source="golden-0"),),
            {answers.NAME: Found("load-20 .* at position 0: token")},
        ),
        _sample(
            "reset-refused",
            "the server says that blocks are still held",
            (Answered("/reset_prefix_cache", 200, b'{"success": false}'),),
            drained.NAME,
            "the leak probe found blocks still held",
        ),
        _sample(
            "sockets-kept",
            "the server keeps 60 connections for good",
            (acts.Crowd(60),),
            resources.NAME,
            "open sockets after phase golden",
        ),
        _sample(
            "answer-overcounted",
            "the server counts a token that it never sent",
            (Sample("vllm:generation_tokens_total", lambda value: value + 1),),
            accounting.NAME,
            "generated tokens, the server",
        ),
    )


def _four() -> tuple[Mutant, ...]:
    least = {"le": "0.3"}
    return (
        _sample(
            "buckets-not-cumulative",
            "a histogram's bucket holds more than the next one",
            (Sample(f"{LATENCY}_bucket", lambda value: value + MUCH, labels=least),),
            counters.NAME,
            f"{LATENCY}_bucket.* is smaller than the bucket below it",
        ),
        Mutant(
            "token-twice",
            "one event of a stream comes twice",
            (Stream("load-20", streams.twice),),
            {
                outcomes.NAME: Found("load-20 .* completion tokens, .* came"),
                answers.NAME: Found("load-20 .* at position 4: token"),
            },
        ),
        _sample(
            "sick-by-health",
            "/health answers 503 while all else goes well",
            (Answered("/health", 503, b""),),
            alive.NAME,
            "false sick",
        ),
        _sample(
            "finish-overcounted",
            "the server counts an answer that it never gave",
            (Sample("vllm:request_success_total", lambda value: value + 1, {"finished_reason": "length"}),),
            accounting.NAME,
            "requests answered, the server",
        ),
    )


def _five() -> tuple[Mutant, ...]:
    return (
        _sample(
            "count-beside-its-buckets",
            "a histogram's count is not what its last bucket holds",
            (Sample(f"{LATENCY}_count", lambda value: value + 1),),
            counters.NAME,
            f"{LATENCY}_count.* differs from its \\+Inf bucket",
        ),
        Mutant(
            "token-lost",
            "one event of a stream never comes",
            (Stream("load-20", streams.lost),),
            {
                outcomes.NAME: Found("load-20 .* completion tokens, .* came"),
                answers.NAME: Found("load-20 .* at position 3: token"),
            },
        ),
        _sample(
            "hits-above-lookups",
            "more tokens are found in the tier than were looked up",
            (Sample("vllm:external_prefix_cache_hits_total", lambda value: value + MUCH),),
            accounting.NAME,
            "hits of .* tokens asked for in vllm:external_prefix_cache",
        ),
    )


def _six() -> tuple[Mutant, ...]:
    last = Sample(f"{FIRST_TOKENS}_bucket", lambda value: value + 1, {"le": "+Inf"})
    return (
        _sample(
            "first-token-overcounted",
            "the server counts a first token that it never sent",
            (last, Sample(f"{FIRST_TOKENS}_count", lambda value: value + 1)),
            accounting.NAME,
            "requests with a first token, the server",
        ),
        _stream(
            "wrong-cached-usage",
            "an answer's usage has more cached tokens than its prompt has tokens",
            Stream("load-20", streams.usage("cached_tokens", 1000)),
            accounting="request load-20: .* cached of .* prompt tokens",
        ),
    )


def _broken_streams() -> tuple[Mutant, ...]:
    def broken(name: str, what: str, mutation: Mutation, words: str) -> Mutant:
        return _stream(name, what, mutation, outcomes=words)

    return (
        broken(
            "truncated", "a stream ends too early", Stream("load-20", streams.truncated), "load-20 .* Trunc"
        ),
        broken(
            "cut",
            "a connection breaks off in mid-answer",
            Stream("load-24", streams.cut),
            "load-24 .* no whole",
        ),
        broken(
            "error-event",
            "a stream with status 200 tells of an error",
            Stream("load-28", streams.with_error),
            "load-28 .* the mutant fails",
        ),
        broken(
            "status-500",
            "a request is answered with status 500",
            Refused("load-32", 500),
            "load-32 .* status 500",
        ),
    )


def _held() -> Mutant:
    return Mutant(
        "held",
        f"nothing of an answer comes for {HOLD_S:g} s",
        (Stream("load-47", streams.held(HOLD_S)),),
        {progress.NAME: Found("stalled for")},
    )


def _false_health() -> Mutant:
    return Mutant(
        "dead-behind-green-health",
        "the last canary is refused while /health says 200",
        (Refused("canary-3", 503),),
        {alive.NAME: Found("false healthy"), outcomes.NAME: Found("canary-3 .* status 503")},
    )


def _slow_client() -> Mutant:
    found = Found("the client was the limit", Verdict.UNKNOWN)
    return Mutant("slow-client", "events that keep the client busy", (acts.Burden(),), {client.NAME: found})


def _slow() -> Mutant:
    late = Stream("load-20", streams.held(SLOW_S, at=0))
    found = Found("99th percentile of TTFT")
    return Mutant("slow", f"a first token comes {SLOW_S:g} s late", (late,), {performance.NAME: found})


def _struck() -> tuple[Mutant, ...]:
    return (
        Mutant(
            "harm-beside-a-fault",
            "an answer is wrong that shares no block with those that a fault has struck",
            (Stream("load-47", streams.other_token),),
            {
                blast.NAME: Found("load-47 .* shares no block .* wrong answer"),
                answers.NAME: Found("load-47 .* at position 3: token"),
            },
        ),
        _stream(
            "late-recovery",
            f"the first answer after healing comes {SLOW_S:g} s late",
            Stream("canary-2", streams.held(SLOW_S, at=0)),
            progress="after healing in phase load the first answer took",
        ),
    )


def _never_offloaded() -> Mutant:
    found = Found("the offload tier was never read", Verdict.UNKNOWN)
    return Mutant("never-offloaded", "the device has room for everything", (), {offload.NAME: found})


def _offload_off() -> Mutant:
    hits = "vllm:external_prefix_cache_hits_total"
    return Mutant(
        "hits-without-offload",
        "a server without offloading tells of hits in the tier",
        (Sample(hits, lambda value: value + 32),),
        {
            offload.NAME: Found("offload is off, yet"),
            accounting.NAME: Found("hits of .* tokens asked for in vllm:external_prefix_cache"),
        },
    )


def _lost_end() -> Mutant:
    return Mutant(
        "lost-end",
        "a fault inside the server: the end of a load is never told",
        (),
        {
            ledger.NAME: Found("prepared loads never ended|copies never ended"),
            progress.NAME: Found("stalled for"),
            drained.NAME: Found("blocks still held|after draining|did not drain"),
        },
    )
