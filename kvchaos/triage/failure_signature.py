"""The signature of a failing run: what its repeats, smaller scenarios and other releases must show. Pure.

A failure of the infrastructure says nothing about the server: the load generator was too slow, the
environment ended the run, or the server did not start.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from history.verdict import Cause, Finding, RunVerdict
from oracles.causes import signature, without_kinds

Infrastructure = Literal["client", "environment", "server start"]
Observation = Literal["shows", "absent", "client", "environment", "server start"]
"""One run: whether it shows the failure, or why it cannot say."""
NOT_STARTED = frozenset({"server-alive/no-server-start", "server-alive/no-server-ready"})
"""Gaps of a run whose server never served."""
CLIENT_PREFIX = "client/"


class FailureSignature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The identity of a failure across runs."""

    rule: str
    signature: str
    """As in `verdict.json`: the rule, then the exception and its frame, the metric or the kind of subject.
    For wrong answers also the kinds of faults before them."""
    declared: bool = False
    """A fault declares all of its findings."""


class InfrastructureFailure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why a run says nothing about the server."""

    category: Infrastructure
    text: str


INFRASTRUCTURE: frozenset[str] = frozenset(get_args(Infrastructure))


def signatures_of(verdict: RunVerdict) -> list[FailureSignature]:
    """Of all causes, the unexplained ones first."""
    ordered = sorted(verdict.causes, key=lambda cause: not cause.unexplained)
    return [_signature(cause) for cause in ordered]


def _signature(cause: Cause) -> FailureSignature:
    return FailureSignature(rule=cause.rule, signature=cause.signature, declared=bool(cause.explained_by))


def chosen_signature(verdict: RunVerdict, wanted: str | None) -> FailureSignature | None:
    """The signature that is `wanted` by its text, its text without kinds of faults, or its rule.

    None for `wanted`: the first.
    """
    found = signatures_of(verdict)
    exact = (each for each in found if wanted in (None, each.signature))
    alike = (each for each in found if wanted in (without_kinds(each.signature), each.rule))
    return next(exact, None) or next(alike, None)


def infrastructure_failure(verdict: RunVerdict) -> InfrastructureFailure | None:
    """Why the run says nothing about the server; None: it does."""
    for result in verdict.results:
        for gap in result.gaps:
            if gap.kind in NOT_STARTED:
                return InfrastructureFailure(category="server start", text=gap.text)
    cut = verdict.cut
    if cut is None:
        return None
    category: Infrastructure = "client" if cut.kind.startswith(CLIENT_PREFIX) else "environment"
    return InfrastructureFailure(category=category, text=cut.text)


def shows(verdict: RunVerdict, wanted: FailureSignature) -> bool:
    """Whether one of the causes has the signature.

    A finding that a fault declares is no failure that no fault declared. The kinds of faults before wrong
    answers do not count: a smaller scenario may have fewer of them, and another seed others.
    """
    text = without_kinds(wanted.signature)
    causes = (cause for cause in verdict.causes if wanted.declared or not cause.explained_by)
    if any(without_kinds(cause.signature) == text for cause in causes):
        return True
    # Known bugs of the release divide the findings of a rule into causes: another release divides otherwise.
    return any(signature(finding) == text for finding in _findings(verdict, wanted))


def _findings(verdict: RunVerdict, wanted: FailureSignature) -> Iterator[Finding]:
    """The findings of the rule that count."""
    for result in verdict.results:
        for finding in result.findings:
            explained = finding.explained_by is not None and not wanted.declared
            if finding.rule == wanted.rule and finding.follows is None and not explained:
                yield finding


def observe(verdict: RunVerdict, wanted: FailureSignature) -> Observation:
    """What one run says about the failure."""
    failure = infrastructure_failure(verdict)
    if failure is not None:
        return failure.category
    return "shows" if shows(verdict, wanted) else "absent"
