"""Stretches of a run between two scrapes, with the requests that belong to them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import mul
from typing import Literal

from history.events import PhaseEnd
from history.metrics import MetricLog
from history.reader import History, PhaseWindow, per_history
from history.records import CROWD, RequestRecord
from history.verdict import SERVER, Subject
from history.verdict import metric as metric_subject
from history.verdict import phase as phase_subject
from oracles.findings import Findings, Rule
from oracles.views.incarnations import Incarnation, incarnations, outages
from oracles.views.timeline import Span, before_the_run, by_phase, span_of, spans

Unit = Literal["requests", "prompt_tokens", "generated_tokens"]
"""Unit of `Spare`."""


@dataclass(frozen=True, slots=True)
class Spare:
    """How much the server's count may exceed what its clients received."""

    requests: int
    """One for each choice."""
    prompt_tokens: int
    generated_tokens: int
    max_tokens: int

    def of(self, unit: Unit) -> int:
        """How much of what a law counts."""
        match unit:
            case "requests":
                return self.requests
            case "prompt_tokens":
                return self.prompt_tokens
            case "generated_tokens":
                return self.generated_tokens


@dataclass(frozen=True)
class Window:
    """A phase, or the whole run (then `first` is None where a fresh server counts from 0)."""

    name: str
    log: MetricLog
    first: int | None
    last: int
    requests: list[RequestRecord]
    settled: bool
    """Both scrapes are of one server life and none of the requests was on its way at either."""
    strays: list[RequestRecord]
    """Requests so far that did not end ok. The server may count them late, in any window."""
    workload: str | None
    since_ns: int = 0
    """When the life of the server began whose books these are; 0 for the first."""
    cut: str | None = None
    """The fault that ended the server in it, so that its books were never closed."""
    ended: bool = True
    """Whether its end is recorded. Else the load was lost in it, perhaps with records of what it had sent."""
    phase: str | None = None
    """None for the whole run."""

    @cached_property
    def ok(self) -> list[RequestRecord]:
        """The requests that ended ok."""
        return [record for record in self.requests if record.outcome == "ok"]

    @cached_property
    def others(self) -> list[RequestRecord]:
        """The requests that did not."""
        return _strays(self.requests)

    @cached_property
    def choices(self) -> list[int]:
        """Number of answers of each request that ended ok."""
        return [record.choices for record in self.ok]

    @cached_property
    def single(self) -> bool:
        """Whether each request that ended ok requested one choice."""
        return self.choices.count(1) == len(self.choices)

    def over_choices(self, values: Sequence[int]) -> int:
        """The sum of a value of each request that ended ok, counted once for each choice."""
        return sum(values) if self.single else sum(map(mul, values, self.choices))

    @cached_property
    def prompt_tokens(self) -> int:
        """Prompt tokens of the requests that ended ok: the server reads a prompt once for each choice."""
        return self.over_choices([record.prompt_tokens for record in self.ok])

    @cached_property
    def spare(self) -> Spare:
        """Each stray was read at most whole, once for each choice, and answered with at most `max_tokens`."""
        requests = prompt = generated = most = 0
        for record in self.strays:
            choices, tokens = max(record.choices, 1), max(record.max_tokens, 0)
            requests += choices
            prompt += choices * record.prompt_tokens
            generated += choices * tokens
            most += choices * tokens
        return Spare(requests, prompt, generated, most)

    @property
    def subject(self) -> Subject:
        """The phase as the subject of a finding; the server for the whole run."""
        return SERVER if self.phase is None else phase_subject(self.phase)

    @property
    def clean(self) -> bool:
        """Whether client and server must agree exactly."""
        return not self.strays

    def growth(self, metric: str, **labels: str) -> float | None:
        """Increase of a counter in the window; None when it is absent."""
        if self.first is None:
            return self.log.total(self.last, metric, **labels)
        return self.log.increase(self.first, self.last, metric, **labels)

    def need(self, found: Findings, *metrics: str) -> list[float] | None:
        """The growth of each metric; None, with a gap noted, when one is absent."""
        grown: list[float] = []
        for metric in metrics:
            growth = self.growth(metric)
            if growth is None:
                self.lacks(found, metric)
                return None
            grown.append(growth)
        return grown

    def lacks(self, found: Findings, metric: str) -> None:
        """Note that a metric is absent."""
        found.gap("metric-absent", f"{self.name}: the scrapes have no {metric}", metric_subject(metric))

    def violation(
        self,
        found: Findings,
        rule: Rule,
        text: str,
        figures: Mapping[str, int | float],
        metric: str,
        **labels: str,
    ) -> None:
        """A violation with the metric's values at both ends of the window."""
        ends = [self.last] if self.first is None else [self.first, self.last]
        values = [(self.log.times_ns[end], self.log.total(end, metric, **labels) or 0.0) for end in ends]
        end_ns = self.log.times_ns[self.last]
        found.violation(
            rule,
            metric_subject(metric),
            f"{self.name}: {text}",
            figures=figures,
            phase=self.phase,
            samples=values,
            t_ns=end_ns,
        )


@per_history
def run_window(history: History) -> Window:
    """The whole run, up to the last scrape; where a fault ended the server, its last life."""
    log = history.metrics
    last = len(log) - 1
    life = _life_at(history, log.times_ns[last]) if last >= 0 else None
    since_ns = life.start_ns if life is not None and life.number else 0
    requests = history.requests
    if since_ns:
        requests = [record for record in requests if record.start_ns >= since_ns]
    settled = (
        last >= 0
        and log.incarnations[bisect_left(log.times_ns, since_ns)] == log.incarnations[last]
        and log.times_ns[last] >= max((span.last_ns for span in spans(history).values()), default=0)
    )
    name = "run" if not since_ns else "run since the restart of the server"
    # A life that began in the run counts from 0.
    first = None if since_ns else before_the_run(history)
    strays = _strays(requests)
    whole = all(_ended(history, phase) for phase in history.phases())
    return Window(name, log, first, last, requests, settled, strays, None, since_ns, ended=whole)


@per_history
def phase_windows(history: History) -> list[Window]:
    """The phases that began, each with its own requests and those of crowds.

    Probes of the conductor are sent between the phases.
    """
    log = history.metrics
    strays = _strays(history.requests)
    windows: list[Window] = []
    for phase in history.phases():
        crowds = list(_crowds(history, phase))
        requests = [*by_phase(history).get(phase.spec.name, []), *crowds]
        span = _span(history, phase, crowds)
        first = phase.first_scrape if phase.first_scrape is not None else -1
        last = phase.last_scrape if phase.last_scrape is not None else -1
        settled = (
            first >= 0
            and log.incarnations[first] == log.incarnations[last]
            and log.times_ns[first] <= span.first_ns
            and log.times_ns[last] >= span.last_ns
        )
        life = _life_at(history, phase.start_ns)
        since_ns = life.start_ns if life is not None and life.number else 0
        so_far = [record for record in strays if since_ns <= record.start_ns <= phase.end_ns]
        windows.append(
            Window(
                name=f"phase {phase.spec.name}",
                log=log,
                first=first,
                last=last,
                requests=requests,
                settled=settled,
                strays=so_far,
                workload=phase.spec.workload,
                since_ns=since_ns,
                cut=_cut(history, phase.start_ns, phase.end_ns),
                ended=_ended(history, phase),
                phase=phase.spec.name,
            )
        )
    return windows


def _span(history: History, phase: PhaseWindow, crowds: list[RequestRecord]) -> Span:
    """Span of the requests of a phase and of crowds; its start if there are none."""
    found = [spans(history)[phase.spec.name]] if phase.spec.name in spans(history) else []
    found += [span_of(crowds)] if crowds else []
    first = min((span.first_ns for span in found), default=phase.start_ns)
    return Span(first, max((span.last_ns for span in found), default=phase.start_ns))


def _ended(history: History, phase: PhaseWindow) -> bool:
    return any(event.data.phase == phase.spec.name for event in history.events_of(PhaseEnd))


def _crowds(history: History, phase: PhaseWindow) -> Iterator[RequestRecord]:
    """The requests of crowds that came in a phase; they are gone when it ends."""
    for record in by_phase(history).get(CROWD, []):
        if phase.start_ns <= record.start_ns <= phase.end_ns:
            yield record


def _life_at(history: History, t_ns: int) -> Incarnation | None:
    """The last life that had begun."""
    return next((life for life in reversed(incarnations(history)) if life.start_ns <= t_ns), None)


def _cut(history: History, begin_ns: int, end_ns: int) -> str | None:
    outage = next((one for one in outages(history) if begin_ns <= one.since_ns <= end_ns), None)
    return None if outage is None else f"{outage.cause.fault} ({outage.cause.kind})"


def _strays(requests: list[RequestRecord]) -> list[RequestRecord]:
    return [record for record in requests if record.outcome != "ok"]
