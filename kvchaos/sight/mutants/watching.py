"""Mutants of what the server tells Prometheus, and only Prometheus."""

from __future__ import annotations

from kvchaos.sight.metrics import Sample, Watched, When, Withheld
from kvchaos.sight.mutants.mutant import Mutant, broken, one
from oracles import witnesses

GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
PREEMPTIONS = "vllm:num_preemptions_total"
STARTED = "process_start_time_seconds"
MUCH = 1e6


def disagreements() -> tuple[Mutant, ...]:
    return (_told_more(), _told_otherwise_at_rest(), _told_less(), _another_life())


def _told_more() -> Mutant:
    more = Watched(Sample(GENERATED, lambda value: value + MUCH))
    what = "Prometheus is told of more generated tokens"
    return one("prometheus-told-more", what, more, broken(witnesses.VALUE, GENERATED))


def _told_otherwise_at_rest() -> Mutant:
    running = Watched(Sample(RUNNING, lambda _: 1.0, when=When.END))
    what = "Prometheus is told of a request that runs when all is over"
    return one("prometheus-told-of-a-ghost", what, running, broken(witnesses.VALUE, RUNNING))


def _told_less() -> Mutant:
    what = "Prometheus is never told how often requests were preempted"
    return one("prometheus-told-less", what, Withheld(PREEMPTIONS), broken(witnesses.MISSING, PREEMPTIONS))


def _another_life() -> Mutant:
    later = Watched(Sample(STARTED, lambda value: value + 1, when=When.FIRST))
    what = "Prometheus is once told another start of the server"
    return one("prometheus-told-another-start", what, later, broken(witnesses.INCARNATION))
