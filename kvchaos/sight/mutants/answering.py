"""Mutants of the answers that clients get, and of their time."""

from __future__ import annotations

from kvchaos.sight import streams
from kvchaos.sight.mutants.mutant import Mutant, one
from kvchaos.sight.streams import Foreign, Refused, Stream

REQUEST = "load-20"
LAST = "load-47"
HOLD_S = 8.0
"""Longer than the traffic's bound of a stall."""
SLOW_S = 4.0
"""Shorter than that."""
AT_THE_TOKEN = f"{REQUEST} .* at position {streams.AT}: token"


def other_logprob() -> Mutant:
    what = "one logprob differs in its last bit"
    return one("other-logprob", what, Stream(REQUEST, streams.other_logprob), answers=AT_THE_TOKEN)


def other_token() -> Mutant:
    return one(
        "other-token", "one token is another", Stream(REQUEST, streams.other_token), answers=AT_THE_TOKEN
    )


def foreign_answer() -> Mutant:
    what = "a client gets the answer to another's prompt"
    foreign = Foreign(REQUEST, source="golden-0")
    words = f"{REQUEST} .* at position 0: token .* another prompt"
    return one("foreign-answer", what, foreign, answers=words)


def token_twice() -> Mutant:
    words = {
        "outcomes": f"{REQUEST} .* completion tokens, .* came",
        "answers": f"{REQUEST} .* at position {streams.AT + 1}: token",
    }
    return one("token-twice", "one event of a stream comes twice", Stream(REQUEST, streams.twice), **words)


def token_lost() -> Mutant:
    words = {"outcomes": f"{REQUEST} .* completion tokens, .* came", "answers": AT_THE_TOKEN}
    return one("token-lost", "one event of a stream never comes", Stream(REQUEST, streams.lost), **words)


def wrong_prompt_usage() -> Mutant:
    more = Stream("load-21", streams.usage("prompt_tokens", 1))
    what = "an answer's usage has one prompt token more"
    return one("wrong-prompt-usage", what, more, outcomes="load-21 .* usage says .* prompt tokens")


def wrong_cached_usage() -> Mutant:
    more = Stream("load-21", streams.usage("cached_tokens", 1000))
    what = "an answer's usage has more cached tokens than its prompt has tokens"
    words = "the answers' usage says .* cached tokens, the server counted"
    return one("wrong-cached-usage", what, more, accounting=words)


def truncated() -> Mutant:
    short = Stream(REQUEST, streams.truncated)
    return one("truncated", "a stream ends too early", short, outcomes=f"{REQUEST} .* TruncatedStream")


def cut() -> Mutant:
    what = "a connection breaks off in mid-answer"
    return one("cut", what, Stream("load-24", streams.cut), outcomes="load-24 .* no whole answer")


def error_event() -> Mutant:
    failed = Stream("load-28", streams.with_error)
    what = "a stream with status 200 tells of an error"
    return one("error-event", what, failed, outcomes="load-28 .* the mutant fails")


def status_500() -> Mutant:
    what = "a request is answered with status 500"
    return one("status-500", what, Refused("load-32", 500), outcomes="load-32 .* status 500")


def held() -> Mutant:
    what = f"nothing of an answer comes for {HOLD_S:g} s"
    return one("held", what, Stream(LAST, streams.held(HOLD_S)), progress="stalled for")


def slow() -> Mutant:
    what = f"a first token comes {SLOW_S:g} s late"
    late = Stream(REQUEST, streams.held(SLOW_S, at=0))
    return one("slow", what, late, performance="99th percentile of TTFT")


def late_recovery() -> Mutant:
    """The canary after the phase with faults is what is asked first after healing."""
    what = f"the first answer after healing comes {SLOW_S:g} s late"
    late = Stream("canary-2", streams.held(SLOW_S, at=0))
    return one("late-recovery", what, late, progress="after healing in phase load the first answer took")


def harm_beside_a_fault() -> Mutant:
    what = "an answer is wrong that shares no block with those that a fault has struck"
    words = {
        "blast_radius": f"{LAST} .* shares no block .* wrong answer",
        "answers": f"{LAST} .* at position {streams.AT}: token",
    }
    return one("harm-beside-a-fault", what, Stream(LAST, streams.other_token), **words)
