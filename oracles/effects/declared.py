"""Which findings the faults of a run explain, by the effects that its plan declares.

Exactly those: a finding on another subject, at another time, or more often than declared stays unexplained.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from msgspec.structs import replace

from history.events import PrefixCacheReset
from history.expected_findings import DeclaredEffect
from history.reader import History
from history.records import FaultRecord, RequestRecord
from history.verdict import Cause, FaultEffect, Finding, OracleResult, Verdict
from oracles.answer_comparison import compared
from oracles.faults_fired import direction_of, is_real
from oracles.findings import oracle_of
from oracles.logs import NATIVE
from oracles.views.damage_spread import may_differ
from oracles.views.incarnations import FOR_EVER, incarnations
from oracles.views.struck_requests import by_name
from oracles.views.timeline import NS_PER_S, end_ns

ENDS_WITHIN_NS = 30 * NS_PER_S
"""Longest time from a firing that ends the engine to the exit of the server: 1 s on a quiet machine."""
SLACK_NS = NS_PER_S
"""The conductor notes a stall shortly before or after it ends the requests that wait."""


class Scope(NamedTuple):
    """The subjects and times at which findings can be the effect of a fault."""

    struck: int
    """Number of subjects that it struck, each of which must have the least number of findings."""
    subject: Callable[[Finding], str | None]
    """The subject by which findings are counted; None where the fault cannot have brought the finding."""


@dataclass(frozen=True, slots=True)
class EffectSpan:
    """A time, wall clock ns; `until_ns` may be for ever."""

    since_ns: float
    until_ns: float

    def meets(self, first_ns: float, last_ns: float) -> bool:
        """Whether an interval, wall clock ns, overlaps with this one."""
        return last_ns >= self.since_ns and first_ns <= self.until_ns


def explain(
    history: History, results: Sequence[OracleResult], follow: Mapping[int, str]
) -> tuple[list[OracleResult], list[FaultEffect]]:
    """The results with each finding marked that a fault explains, and what came of each fault that fired.

    `follow` has the rule of its cause for each finding that follows from one, by `id`.
    """
    kinds = {fault.id: fault.kind for fault in history.plan.scenario.faults}
    able = {result.oracle for result in results if result.verdict is not Verdict.UNKNOWN}
    findings = [finding for result in results for finding in result.findings]
    explained: dict[int, str] = {}
    effects: list[FaultEffect] = []
    for declared in history.plan.effects:
        fired = list(_fired(history, declared))
        scope = SCOPES[declared.scope](history, fired)
        if not scope.struck:
            continue
        mine = list(_matching(findings, declared, scope))
        explained |= {id(finding): declared.fault for finding in mine if id(finding) not in explained}
        effects.append(
            FaultEffect(
                fault=declared.fault,
                kind=kinds.get(declared.fault, ""),
                rules=list(declared.rules),
                least=declared.least * scope.struck,
                explains=dict(Counter(finding.rule for finding in mine)),
                judged=able.issuperset(map(oracle_of, declared.rules)),
            )
        )
    missing = [effect.rules[0] for effect in effects if effect.missing]
    return [_marked(result, explained, missing, follow) for result in results], effects


def attributed(causes: Sequence[Cause], results: Sequence[OracleResult]) -> list[Cause]:
    """The causes with the faults that explain them, by results that are marked."""
    counts = {rule: count for result in results for rule, count in result.explained.items()}
    faults: dict[str, set[str]] = defaultdict(set)
    for finding in (finding for result in results for finding in result.findings):
        if finding.explained_by is not None:
            faults[finding.rule].add(finding.explained_by)
    return [
        replace(cause, explained_by=sorted(faults[cause.rule]), follow=_without_crashes(cause.follow))
        if counts.get(cause.rule, 0) >= cause.violations
        else cause
        for cause in causes
    ]


def _without_crashes(follow: Mapping[str, int]) -> dict[str, int]:
    """The effects without crashes of native code and failures of memory or device.

    No fault of the chaos module causes these.
    """
    return {rule: count for rule, count in follow.items() if rule not in NATIVE}


def _fired(history: History, declared: DeclaredEffect) -> Iterator[FaultRecord]:
    for line in history.faults:
        if line.event != "fired" or line.fault != declared.fault or not is_real(line):
            continue
        if declared.direction is None or direction_of(line) == declared.direction:
            yield line


def _matching(findings: Iterable[Finding], declared: DeclaredEffect, scope: Scope) -> Iterator[Finding]:
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        if finding.rule not in declared.rules or (subject := scope.subject(finding)) is None:
            continue
        counts[finding.rule, subject] += 1
        if declared.most is None or counts[finding.rule, subject] <= declared.most:
            yield finding


def _marked(
    result: OracleResult, explained: Mapping[int, str], missing: Sequence[str], follow: Mapping[int, str]
) -> OracleResult:
    findings = [
        replace(finding, explained_by=explained.get(id(finding)), follows=follow.get(id(finding)))
        if id(finding) in explained or id(finding) in follow
        else finding
        for finding in result.findings
    ]
    counts = Counter(
        finding.rule for finding in findings if finding.explained_by is not None and finding.follows is None
    )
    owed = [rule for rule in missing if oracle_of(rule) == result.oracle]
    return replace(result, findings=findings, explained=dict(counts), missing=owed)


def _struck(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """The requests that the firings name."""
    ids = {record.id for records in by_name(fired, history.requests).values() for record in records}
    return Scope(min(len(fired), 1), lambda finding: _request(finding, ids))


def _readers(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """Requests that read damage or a result of it, by the provenance log; without a log those that may have.

    An answer that is compared with one of theirs may differ from it.
    """
    ids = may_differ(history, fired)
    if ids is None:
        return _sharers(history, fired)
    compared_with_theirs = {
        comparison.record.id
        for comparison in compared(history).different
        if not comparison.golden and comparison.standard.id in ids
    }
    # Damage that nobody read owes no finding; that it had no effect is for the oracle of the faults to say.
    return Scope(min(len(ids), 1), lambda finding: _request(finding, ids | compared_with_theirs))


def _sharers(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """Requests that the firings name, and requests that share the first block of a prompt with them.

    What a load wrote on the device is gone when its prefix cache is reset; what a store wrote in the tier may
    stay.
    """
    resets = [event.t_ns for event in history.events_of(PrefixCacheReset) if event.data.ok]
    meant = by_name(fired, history.requests)
    spans: dict[str, dict[float, EffectSpan]] = defaultdict(dict)
    """Spans by request or block, then by their end."""
    for line in fired:
        gone = (t_ns for t_ns in resets if t_ns > line.t_ns and direction_of(line) == "load")
        until_ns = next(gone, FOR_EVER)
        for key in (key for record in _named(meant, line) for key in _keys(record)):
            since_ns = min(line.t_ns, spans[key][until_ns].since_ns) if until_ns in spans[key] else line.t_ns
            spans[key][until_ns] = EffectSpan(since_ns, until_ns)
    ids = {record.id for record in history.requests if _meets(record, spans)}
    return Scope(min(len(fired), 1), lambda finding: _request(finding, ids))


def _meets(record: RequestRecord, spans: Mapping[str, Mapping[float, EffectSpan]]) -> bool:
    """Whether a request was on its way, or sent, while it could read what was damaged."""
    mine = (span for key in _keys(record) if key in spans for span in spans[key].values())
    return any(span.meets(record.start_ns, end_ns(record)) for span in mine)


def _named(meant: Mapping[str, list[RequestRecord]], line: FaultRecord) -> list[RequestRecord]:
    return meant[line.request] if line.request is not None else []


def _keys(record: RequestRecord) -> Iterator[str]:
    yield f"request {record.id}"
    if record.first_block is not None:
        yield f"block {record.first_block}"


def _request(finding: Finding, ids: set[str]) -> str | None:
    subject = finding.subject
    return subject.name if subject.kind == "request" and subject.name in ids else None


def _life(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """The server, at the end of a life in which the fault fired."""
    struck = 0
    exits: dict[int, str] = {}
    for life in incarnations(history):
        until_ns = FOR_EVER if life.exit is None else life.exit.t_ns
        times = [line.t_ns for line in fired if life.start_ns <= line.t_ns <= until_ns]
        struck += bool(times)
        if life.exit is not None and times and life.exit.t_ns - max(times) <= ENDS_WITHIN_NS:
            exits[life.exit.t_ns] = str(life.number)
    return Scope(struck, lambda finding: exits.get(finding.t_ns or 0))


def _wait(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """The requests that the firings name, and the server while one of them is on its way."""
    meant = by_name(fired, history.requests)
    named = [(line, record) for line in fired for record in _named(meant, line)]
    ids = {record.id for _, record in named}
    spans = [EffectSpan(line.t_ns, end_ns(record) + SLACK_NS) for line, record in named]

    def subject(finding: Finding) -> str | None:
        if finding.subject.kind != "server":
            return _request(finding, ids)
        times = [t_ns for t_ns, _ in finding.samples] or [finding.t_ns or 0]
        return "server" if any(span.meets(min(times), max(times)) for span in spans) else None

    return Scope(min(len(fired), 1), subject)


def _rest(history: History, fired: Sequence[FaultRecord]) -> Scope:
    """The server and its processes, after a firing in its last life."""
    last_ns = max((life.start_ns for life in incarnations(history)), default=0)
    times = [line.t_ns for line in fired if line.t_ns >= last_ns]

    def subject(finding: Finding) -> str | None:
        if finding.subject.kind not in ("server", "process") or (finding.t_ns or 0) < min(times):
            return None
        return f"{finding.subject.kind} {finding.subject.name}"

    return Scope(min(len(times), 1), subject)


SCOPES: dict[str, Callable[[History, Sequence[FaultRecord]], Scope]] = {
    "struck": _struck,
    "readers": _readers,
    "life": _life,
    "wait": _wait,
    "rest": _rest,
}
