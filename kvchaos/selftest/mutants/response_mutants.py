"""Mutants of the responses that clients receive, and of their latency."""

from __future__ import annotations

from kvchaos.selftest import stream_mutations
from kvchaos.selftest.mutants.mutant import Mutant, single_mutant, violates
from kvchaos.selftest.stream_mutations import RequestRefused, StreamMutation, SwappedAnswer
from oracles import accounting, answers, blast, outcomes, performance, progress, token_crosscheck

REQUEST = "load-20"
LAST = "load-47"
STALL_S = 8.0
"""Longer than the traffic's bound of a stall."""
SLOW_S = 4.0
"""Shorter than that."""


def other_logprob() -> Mutant:
    """Mutant: one logprob of an answer differs in its last bit."""
    what = "one logprob differs in its last bit"
    return single_mutant(
        "other-logprob",
        what,
        StreamMutation(REQUEST, stream_mutations.other_logprob),
        violates(answers.NOT_GOLDEN, REQUEST),
    )


def other_token() -> Mutant:
    """Mutant: one token of an answer is another."""
    return single_mutant(
        "other-token",
        "one token is another",
        StreamMutation(REQUEST, stream_mutations.other_token),
        violates(answers.NOT_GOLDEN, REQUEST),
    )


def foreign_answer() -> Mutant:
    """Mutant: a client gets the answer to another prompt."""
    what = "a client gets the answer to another's prompt"
    foreign = SwappedAnswer(REQUEST, source="golden-0")
    return single_mutant("foreign-answer", what, foreign, violates(answers.FOREIGN, REQUEST))


def token_twice() -> Mutant:
    """Mutant: one event of a stream is sent twice."""
    rules = (outcomes.COMPLETION_TOKENS, outcomes.TOO_LONG, answers.NOT_GOLDEN)
    kills = [violates(rule, REQUEST) for rule in rules]
    return single_mutant(
        "token-twice",
        "one event of a stream comes twice",
        StreamMutation(REQUEST, stream_mutations.event_repeated),
        *kills,
    )


def token_lost() -> Mutant:
    """Mutant: one event of a stream is missing."""
    rules = (outcomes.COMPLETION_TOKENS, outcomes.TOO_SHORT, answers.NOT_GOLDEN)
    kills = [violates(rule, REQUEST) for rule in rules]
    return single_mutant(
        "token-lost",
        "one event of a stream never comes",
        StreamMutation(REQUEST, stream_mutations.event_lost),
        *kills,
    )


def wrong_prompt_usage() -> Mutant:
    """Mutant: an answer's usage has one prompt token too many."""
    more = StreamMutation("load-21", stream_mutations.usage_off_by("prompt_tokens", 1))
    what = "an answer's usage has one prompt token more"
    return single_mutant("wrong-prompt-usage", what, more, violates(outcomes.PROMPT_TOKENS, "load-21"))


def wrong_cached_usage() -> Mutant:
    """Mutant: an answer's usage has more cached tokens than prompt tokens."""
    more = StreamMutation("load-21", stream_mutations.usage_off_by("cached_tokens", 1000))
    what = "an answer's usage has more cached tokens than its prompt has tokens"
    sums = (violates(token_crosscheck.USAGE_CACHED), violates(token_crosscheck.USAGE_CLAIMED))
    return single_mutant("wrong-cached-usage", what, more, *sums, violates(accounting.USAGE_RANGE, "load-21"))


def truncated() -> Mutant:
    """Mutant: a stream ends early without an error."""
    short = StreamMutation(REQUEST, stream_mutations.truncated)
    return single_mutant("truncated", "a stream ends too early", short, violates(outcomes.TRUNCATED, REQUEST))


def connection_cut() -> Mutant:
    """Mutant: the connection breaks in mid-answer."""
    what = "a connection breaks off in mid-answer"
    return single_mutant(
        "cut",
        what,
        StreamMutation("load-24", stream_mutations.connection_cut),
        violates(outcomes.TRUNCATED, "load-24"),
    )


def error_event() -> Mutant:
    """Mutant: a stream with status 200 contains an error."""
    failed = StreamMutation("load-28", stream_mutations.error_event)
    what = "a stream with status 200 contains an error"
    return single_mutant("error-event", what, failed, violates(outcomes.TRUNCATED, "load-28"))


def status_500() -> Mutant:
    """Mutant: a request is refused with status 500."""
    what = "a request is answered with status 500"
    return single_mutant(
        "status-500", what, RequestRefused("load-32", 500), violates(outcomes.FAILED, "load-32")
    )


def stalled_stream() -> Mutant:
    """Mutant: a stream stalls for `STALL_S`."""
    what = f"a stream stalls for {STALL_S:g} s"
    return single_mutant(
        "stalled", what, StreamMutation(LAST, stream_mutations.stalled(STALL_S)), violates(progress.STALL)
    )


def slow() -> Mutant:
    """Mutant: the first token of an answer is `SLOW_S` late."""
    what = f"a first token is {SLOW_S:g} s late"
    late = StreamMutation(REQUEST, stream_mutations.stalled(SLOW_S, at=0))
    return single_mutant("slow", what, late, violates(performance.TTFT_P99))


def late_recovery() -> Mutant:
    """The probe after the phase with faults is the first request after healing."""
    what = f"the first answer after healing is {SLOW_S:g} s late"
    late = StreamMutation("probe-2", stream_mutations.stalled(SLOW_S, at=0))
    return single_mutant("late-recovery", what, late, violates(progress.SLOW_RECOVERY, "load"))


def unrelated_answer_wrong() -> Mutant:
    """Mutant: an answer is wrong that shares no block with a struck request."""
    what = "a wrong answer shares no block with any request that a fault has struck"
    kills = (violates(blast.BYSTANDER_WRONG, LAST), violates(answers.NOT_GOLDEN, LAST))
    return single_mutant(
        "harm-beside-a-fault", what, StreamMutation(LAST, stream_mutations.other_token), *kills
    )
