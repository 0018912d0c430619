"""The tokens of answers, and how fast they are to come."""

from __future__ import annotations

from functools import partial

from history.phase_spec import PhaseBounds
from history.reader import History
from kvchaos.selftest.alterations.alteration import Alteration, answered_request, with_request, with_scenario
from oracles import answers, performance
from oracles.findings import Rule

TINY = 1e-9
HUGE = 1e9
FIRST_PHASE = "any"
"""Placeholder for the name of the first phase."""


def _other_than_before(history: History) -> History:
    """Without golden answers: an answer differs from the first one to its prompt."""
    phases = [phase.model_copy(update={"role": "load"}) for phase in history.plan.scenario.phases]
    record = answered_request(history)
    tokens = [record.token_ids[0] + 1, *list(record.token_ids)[1:]]
    return with_scenario(with_request(history, record, token_ids=tokens), phases=tuple(phases))


def _bounded(bounds: PhaseBounds, history: History) -> History:
    """Bounds on the last phase that no server keeps; where they need another phase, that is the first."""
    first, last = history.plan.scenario.phases[0].name, history.plan.scenario.phases[-1].name
    whole = bounds if bounds.like is None else bounds.model_copy(update={"like": first})
    return with_scenario(history, performance={last: whole})


def _too_slow(rule: Rule, what: str, **bounds: object) -> Alteration:
    return Alteration(rule, what, partial(_bounded, PhaseBounds.model_validate(bounds)))


ALTERATIONS = (
    Alteration(
        answers.NOT_REPEATED, "without golden answers, a token is another than before", _other_than_before
    ),
    _too_slow(performance.TTFT_MEDIAN, "no TTFT is as low as the bound", ttft_median_ms=TINY),
    _too_slow(performance.ITL_P99, "no ITL is as low as the bound", itl_p99_ms=TINY),
    _too_slow(performance.THROUGHPUT, "no server is as fast as the bound", tokens_per_s=HUGE),
    _too_slow(
        performance.TTFT_RATIO, "the TTFT is to be far lower than before", like=FIRST_PHASE, ttft_ratio=TINY
    ),
    _too_slow(
        performance.THROUGHPUT_RATIO,
        "the tokens/s are to be far higher",
        like=FIRST_PHASE,
        tokens_ratio=HUGE,
    ),
    _too_slow(performance.RECOVERY, "the server is to recover at once", like=FIRST_PHASE, recover_s=TINY),
)
