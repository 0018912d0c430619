"""Which findings follow from another: when a server dies, much else fails of it, and that is one cause.

And what tells one cause from another, whatever the seed, the scenario and the machine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from history.metrics import parse_key
from history.reader import History
from history.verdict import Cause, Finding, OracleResult, Verdict
from oracles import (
    accounting,
    alive,
    answers,
    blast,
    counters,
    drained,
    faults_fired,
    logs,
    metrics_crosscheck,
    offload,
    outcomes,
    progress,
    resources,
    transfer_invariants,
)
from oracles.findings import Rule
from oracles.laws import relations
from oracles.strikes import kinds_before

NEVER_ENDED = tuple(transfer_invariants.NEVER_ENDED.values())


@dataclass(frozen=True, slots=True)
class Follows:
    """What a violation of a rule brings with it."""

    rule: Rule
    rules: tuple[Rule, ...]
    """Rules whose violation is a consequence."""
    oracles: tuple[str, ...] = ()
    """Oracles whose unknown result is a consequence."""
    same_request: bool = False
    """Whether only findings on the same requests are consequences."""


CLIENT_GAVE_UP = (progress.DEADLINE, outcomes.FAILED, outcomes.TRUNCATED)
LEAKS = (*drained.RULES, *NEVER_ENDED)
STALLS = (progress.DEADLOCK, progress.LIVELOCK, progress.STALL)
FOLLOWS = (
    Follows(
        alive.DIED,
        (
            alive.UNANSWERED,
            alive.FALSE_HEALTHY,
            resources.GONE,
            counters.DECREMENT,
            outcomes.FAILED,
            outcomes.TRUNCATED,
            *logs.RULES,
            *progress.RULES,
            *LEAKS,
            # What ends a server in the midst of counting leaves some of its series behind the others.
            *relations.RULES,
        ),
        (
            progress.NAME,
            accounting.NAME,
            metrics_crosscheck.NAME,
            answers.NAME,
            drained.NAME,
            resources.NAME,
            transfer_invariants.NAME,
            faults_fired.NAME,
            blast.NAME,
            offload.NAME,
        ),
    ),
    # A stall ends the load: the answers that were to be compared may be those that never came.
    *(Follows(rule, (*CLIENT_GAVE_UP, *LEAKS), (answers.NAME,)) for rule in STALLS),
    Follows(progress.DEADLINE, (*CLIENT_GAVE_UP, *LEAKS), same_request=True),
)
"""The first that is broken takes what follows from it; a cause is what none of the others brings."""


def causes(history: History, results: Sequence[OracleResult]) -> list[Cause]:
    """One for each broken rule that follows from no other, those above first."""
    broken = {rule: count for result in results for rule, count in result.by_rule.items()}
    unknown = [result.oracle for result in results if result.verdict is Verdict.UNKNOWN]
    found: list[Cause] = []
    for follows in FOLLOWS:
        if follows.rule.id not in broken:
            continue
        rules = _taken(broken, follows, results)
        stopped = [name for name in unknown if name in follows.oracles]
        unknown = [name for name in unknown if name not in stopped]
        found.append(_cause(history, results, follows.rule.id, broken.pop(follows.rule.id), rules, stopped))
    found += [_cause(history, results, rule, count, {}, []) for rule, count in broken.items()]
    return found


def following(results: Sequence[OracleResult], found: Iterable[Cause]) -> dict[int, str]:
    """The rule of its cause for each finding that follows from one, by the `id` of the finding."""
    causing = {follows.rule.id: follows for follows in FOLLOWS}
    findings = [finding for result in results for finding in result.findings]
    return {
        id(finding): cause.rule
        for cause in found
        if cause.follow
        for finding in _followers(findings, causing[cause.rule])
        if finding.rule in cause.follow
    }


def _followers(findings: Sequence[Finding], follows: Follows) -> Iterator[Finding]:
    rules = {rule.id for rule in follows.rules} - {follows.rule.id}
    subjects = {finding.subject for finding in findings if finding.rule == follows.rule.id}
    for finding in findings:
        other = follows.same_request and finding.subject.kind == "request" and finding.subject not in subjects
        if finding.rule in rules and not other:
            yield finding


def _taken(broken: dict[str, int], follows: Follows, results: Sequence[OracleResult]) -> dict[str, int]:
    """What is broken because of a rule, and how often; it is not counted as broken any more."""
    findings = [finding for result in results for finding in result.findings]
    kept = Counter(finding.rule for finding in findings)
    counts = Counter(finding.rule for finding in _followers(findings, follows) if finding.rule in broken)
    taken: dict[str, int] = {}
    for rule, count in counts.items():
        # Of those that were only counted nobody knows the subject.
        taken[rule] = broken[rule] if count == kept[rule] else count
        broken[rule] -= taken[rule]
        if not broken[rule]:
            del broken[rule]
    return taken


def _cause(
    history: History,
    results: Sequence[OracleResult],
    rule: str,
    count: int,
    rules: dict[str, int],
    stopped: list[str],
) -> Cause:
    findings = [finding for result in results for finding in result.findings]
    first = next(finding for finding in findings if finding.rule == rule)
    line = _first_line(findings, {rule, *rules})
    raised = None if line is None else first_raised(history, line)
    return Cause(
        rule=rule,
        signature=signature(first, raised),
        violations=count,
        follow=rules,
        inconclusive=stopped,
    )


def _first_line(findings: Sequence[Finding], rules: set[str]) -> int | None:
    """The first line of the log that a finding of these rules names."""
    lines = (finding.log_line for finding in findings if finding.rule in rules)
    return min((line for line in lines if line is not None), default=None)


FRAME = re.compile(r'File "(?P<path>[^"]+)", line \d+, in (?P<function>\S+)')
VLLM = re.compile(r".*/(?P<module>vllm/.+)\.py")
"""The package's path in a frame's; of a checkout in a folder `vllm`, the inner one."""
TRACEBACK = "Traceback (most recent call last)"
RAISED = re.compile(r"^(?:[A-Za-z_][\w.]*\.)?(?P<name>[A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit)\b)")
COLOUR = r"(?:\x1b\[[\d;]*m)*"
PREFIX = re.compile(
    rf"^{COLOUR}\([^)]*pid=\d+\){COLOUR}\s?(?:{COLOUR}[A-Z]+ \d\d-\d\d [\d:]+ {COLOUR}\[[^\]]*\]{COLOUR} ?)?"
)
"""Prefix of a process and of vLLM's logger."""


class Raised(NamedTuple):
    """An exception in the log."""

    exception: str
    function: str | None
    """The innermost function of vLLM, as `vllm.v1.engine.core.step`."""

    def __str__(self) -> str:
        return f"{self.exception} in {self.function}" if self.function else self.exception


def signature(finding: Finding, raised: Raised | None = None) -> str:
    """Rule and exception where the log has one, else rule and kind of subject, or the metric's name."""
    if raised is not None:
        return f"{finding.rule}: {raised}"
    subject = finding.subject
    what = parse_key(subject.name)[0] if subject.kind == "metric" else subject.kind
    return f"{finding.rule}: {what}"


WRONG_ANSWERS = frozenset(rule.id for rule in answers.RULES)
AFTER = " after "


def with_kinds(history: History, signature: str, findings: Sequence[Finding]) -> str:
    """The signature of wrong answers with the kinds of faults that struck blocks before all of them.

    Nothing else tells the causes of wrong answers apart.
    """
    wrong = [finding for finding in findings if finding.rule in WRONG_ANSWERS]
    kinds = kinds_before(history, wrong) if wrong else []
    return f"{signature}{AFTER}{', '.join(kinds)}" if kinds else signature


def without_kinds(signature: str) -> str:
    """The signature without the kinds of faults."""
    return signature.partition(AFTER)[0]


def first_raised(history: History, line: int) -> Raised | None:
    """The first exception at or just before a line of the log, counted from 1, that has a traceback."""
    lines = history.log
    start = max(line - 2, 0)
    for at in range(start, len(lines)):
        if TRACEBACK in lines[at]:
            found = raised_below(lines[at + 1 :])
            return None if found is None else found[1]
    return None


def raised_below(lines: Sequence[str]) -> tuple[int, Raised] | None:
    """The exception of a traceback, from the lines below its head, and the index of its line."""
    function: str | None = None
    for at, text in enumerate(_plain(lines)):
        frame = FRAME.search(text)
        if frame is not None:
            function = _function(frame) or function
        elif raised := RAISED.match(text):
            return at, Raised(raised["name"], function)
    return None


def _plain(lines: Sequence[str]) -> Iterator[str]:
    """Without what the logger puts before each."""
    for line in lines:
        yield PREFIX.sub("", line)


def _function(frame: re.Match[str]) -> str | None:
    path = VLLM.match(frame["path"])
    return None if path is None else f"{path['module'].replace('/', '.')}.{frame['function']}"
