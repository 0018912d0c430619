"""Which answers begin with a marker, and whose: markers show whose context the server read.

A prompt may ask for a marker, which only its own context has. An answer that begins with the marker of
another prompt was made from that prompt's content. This needs no golden answer and no logprobs.
"""

from __future__ import annotations

from dataclasses import dataclass

from history.reader import History, per_history
from history.records import RequestRecord
from oracles.answer_comparison import whole_answers

TELLING = 4
"""First tokens that identify a marker: an answer that has them by chance is one in four billion."""


@dataclass(frozen=True, slots=True)
class MarkedAnswers:
    """The complete answers to prompts that ask for a marker."""

    answers: int
    own: int
    """Answers that begin with the marker of their prompt."""
    foreign: dict[str, str]
    """By request: a prompt whose marker its answer begins with, and not with its own."""


@per_history
def marked_answers(history: History) -> MarkedAnswers:
    """Compare the beginning of each answer with all markers of the run."""
    marked = [record for record in whole_answers(history) if len(record.marker) >= TELLING]
    owners: dict[tuple[int, ...], str] = {}
    for record in marked:
        owners.setdefault(record.marker[:TELLING], record.prompt_id)
    own, foreign = 0, {}
    for record in marked:
        beginning = _beginning(record)
        if beginning == record.marker[:TELLING]:
            own += 1
        elif beginning in owners:
            foreign[record.id] = owners[beginning]
    return MarkedAnswers(len(marked), own, foreign)


def _beginning(record: RequestRecord) -> tuple[int, ...]:
    return tuple(int(token) for token in record.token_ids[:TELLING])


def marker_text(marked: MarkedAnswers) -> str:
    """How many answers have the marker of their prompt; empty for a run without markers."""
    if not marked.answers:
        return ""
    return f"; {marked.own} of {marked.answers} answers begin with the marker of their prompt"
