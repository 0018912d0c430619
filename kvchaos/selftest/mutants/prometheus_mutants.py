"""Mutants of the scrapes of Prometheus, while the suite's own scrapes stay right."""

from __future__ import annotations

from kvchaos.selftest.metric_mutations import MetricWithheld, MutationTiming, PrometheusOnly, SampleMutation
from kvchaos.selftest.mutants.mutant import Mutant, single_mutant, violates
from oracles import metrics_crosscheck

GENERATED = "vllm:generation_tokens_total"
RUNNING = "vllm:num_requests_running"
PREEMPTIONS = "vllm:num_preemptions_total"
STARTED = "process_start_time_seconds"
HUGE = 1e6


def disagreements() -> tuple[Mutant, ...]:
    return (_counter_too_high(), _request_runs_at_rest(), _metric_missing(), _other_start_time())


def _counter_too_high() -> Mutant:
    more = PrometheusOnly(SampleMutation(GENERATED, lambda value: value + HUGE))
    what = "Prometheus alone scrapes more generated tokens"
    return single_mutant("prometheus-told-more", what, more, violates(metrics_crosscheck.VALUE, GENERATED))


def _request_runs_at_rest() -> Mutant:
    running = PrometheusOnly(SampleMutation(RUNNING, lambda _: 1.0, when=MutationTiming.AFTER_LOAD))
    what = "Prometheus alone scrapes a running request after the last one ended"
    return single_mutant(
        "prometheus-told-of-a-ghost", what, running, violates(metrics_crosscheck.VALUE, RUNNING)
    )


def _metric_missing() -> Mutant:
    what = "the preemption counter is missing from the scrapes of Prometheus"
    return single_mutant(
        "prometheus-told-less",
        what,
        MetricWithheld(PREEMPTIONS),
        violates(metrics_crosscheck.MISSING, PREEMPTIONS),
    )


def _other_start_time() -> Mutant:
    later = PrometheusOnly(SampleMutation(STARTED, lambda value: value + 1, when=MutationTiming.FIRST_SCRAPE))
    what = "Prometheus scrapes another start time of the server, once"
    return single_mutant(
        "prometheus-told-another-start", what, later, violates(metrics_crosscheck.INCARNATION)
    )
