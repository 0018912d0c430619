"""Mutants of the answers that clients get, and of their time."""

from __future__ import annotations

from kvchaos.sight import streams
from kvchaos.sight.mutants.mutant import Mutant, broken, one
from kvchaos.sight.streams import Foreign, Refused, Stream
from oracles import accounting, answers, blast, crosscheck, outcomes, performance, progress, recovery

REQUEST = "load-20"
LAST = "load-47"
HOLD_S = 8.0
"""Longer than the traffic's bound of a stall."""
SLOW_S = 4.0
"""Shorter than that."""


def other_logprob() -> Mutant:
    what = "one logprob differs in its last bit"
    return one(
        "other-logprob", what, Stream(REQUEST, streams.other_logprob), broken(answers.NOT_GOLDEN, REQUEST)
    )


def other_token() -> Mutant:
    return one(
        "other-token",
        "one token is another",
        Stream(REQUEST, streams.other_token),
        broken(answers.NOT_GOLDEN, REQUEST),
    )


def foreign_answer() -> Mutant:
    what = "a client gets the answer to another's prompt"
    foreign = Foreign(REQUEST, source="golden-0")
    return one("foreign-answer", what, foreign, broken(answers.FOREIGN, REQUEST))


def token_twice() -> Mutant:
    rules = (outcomes.COMPLETION_TOKENS, outcomes.TOO_LONG, answers.NOT_GOLDEN)
    kills = [broken(rule, REQUEST) for rule in rules]
    return one("token-twice", "one event of a stream comes twice", Stream(REQUEST, streams.twice), *kills)


def token_lost() -> Mutant:
    rules = (outcomes.COMPLETION_TOKENS, outcomes.TOO_SHORT, answers.NOT_GOLDEN)
    kills = [broken(rule, REQUEST) for rule in rules]
    return one("token-lost", "one event of a stream never comes", Stream(REQUEST, streams.lost), *kills)


def wrong_prompt_usage() -> Mutant:
    more = Stream("load-21", streams.usage("prompt_tokens", 1))
    what = "an answer's usage has one prompt token more"
    return one("wrong-prompt-usage", what, more, broken(outcomes.PROMPT_TOKENS, "load-21"))


def wrong_cached_usage() -> Mutant:
    more = Stream("load-21", streams.usage("cached_tokens", 1000))
    what = "an answer's usage has more cached tokens than its prompt has tokens"
    sums = (broken(crosscheck.USAGE_CACHED), broken(crosscheck.USAGE_CLAIMED))
    return one("wrong-cached-usage", what, more, *sums, broken(accounting.USAGE_RANGE, "load-21"))


def truncated() -> Mutant:
    short = Stream(REQUEST, streams.truncated)
    return one("truncated", "a stream ends too early", short, broken(outcomes.TRUNCATED, REQUEST))


def cut() -> Mutant:
    what = "a connection breaks off in mid-answer"
    return one("cut", what, Stream("load-24", streams.cut), broken(outcomes.TRUNCATED, "load-24"))


def error_event() -> Mutant:
    failed = Stream("load-28", streams.with_error)
    what = "a stream with status 200 tells of an error"
    return one("error-event", what, failed, broken(outcomes.TRUNCATED, "load-28"))


def status_500() -> Mutant:
    what = "a request is answered with status 500"
    return one("status-500", what, Refused("load-32", 500), broken(outcomes.FAILED, "load-32"))


def held() -> Mutant:
    what = f"nothing of an answer comes for {HOLD_S:g} s"
    return one("held", what, Stream(LAST, streams.held(HOLD_S)), broken(progress.STALL))


def slow() -> Mutant:
    what = f"a first token comes {SLOW_S:g} s late"
    late = Stream(REQUEST, streams.held(SLOW_S, at=0))
    return one("slow", what, late, broken(performance.TTFT_P99))


def late_recovery() -> Mutant:
    """The canary after the phase with faults is what is asked first after healing."""
    what = f"the first answer after healing comes {SLOW_S:g} s late"
    late = Stream("canary-2", streams.held(SLOW_S, at=0))
    return one("late-recovery", what, late, broken(recovery.SLOW_RECOVERY, "load"))


def harm_beside_a_fault() -> Mutant:
    what = "an answer is wrong that shares no block with those that a fault has struck"
    kills = (broken(blast.BYSTANDER_WRONG, LAST), broken(answers.NOT_GOLDEN, LAST))
    return one("harm-beside-a-fault", what, Stream(LAST, streams.other_token), *kills)
