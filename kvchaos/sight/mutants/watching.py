"""Mutants of what the server tells Prometheus, and only Prometheus."""

from __future__ import annotations

from kvchaos.sight.metrics import Sample, Watched, When, Withheld
from kvchaos.sight.mutants.mutant import Mutant, one

GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
PREEMPTIONS = "vllm:num_preemptions_total"
STARTED = "process_start_time_seconds"
MUCH = 1e6


def disagreements() -> tuple[Mutant, ...]:
    return (_told_more(), _told_otherwise_at_rest(), _told_less(), _another_life())


def _told_more() -> Mutant:
    more = Watched(Sample(GENERATED, lambda value: value + MUCH))
    words = f"{GENERATED}.*: Prometheus saw .* the suite"
    return one("prometheus-told-more", "Prometheus is told of more generated tokens", more, witnesses=words)


def _told_otherwise_at_rest() -> Mutant:
    running = Watched(Sample(RUNNING, lambda _: 1.0, when=When.END))
    words = f"{RUNNING}.*: Prometheus saw 1, the suite 0 before and 0 after"
    what = "Prometheus is told of a request that runs when all is over"
    return one("prometheus-told-of-a-ghost", what, running, witnesses=words)


def _told_less() -> Mutant:
    words = f"{PREEMPTIONS}.*: Prometheus does not have it"
    what = "Prometheus is never told how often requests were preempted"
    return one("prometheus-told-less", what, Withheld(PREEMPTIONS), witnesses=words)


def _another_life() -> Mutant:
    later = Watched(Sample(STARTED, lambda value: value + 1, when=When.FIRST))
    what = "Prometheus is once told another start of the server"
    words = "Prometheus saw a server started at"
    return one("prometheus-told-another-start", what, later, witnesses=words)
