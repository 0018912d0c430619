"""Which answers begin with a marker, and of which prefix: markers show whose blocks the server read.

A prompt may ask for a marker, which only its own prefix has. An answer that begins with a marker of another
prefix was made from that prefix. This needs no golden answer and no logprobs.
"""

from __future__ import annotations

from dataclasses import dataclass

from history.reader import History, per_history
from history.records import RequestRecord
from oracles.answer_comparison import whole_answers

MARKER_START = 4
"""First tokens that identify a marker: tokens that are drawn at random equal it once in 2**32."""


@dataclass(frozen=True, slots=True)
class MarkedAnswers:
    """The complete answers to prompts that ask for a marker."""

    answers: int
    own: int
    """Answers that begin with the marker of their prompt."""
    foreign: dict[str, str]
    """By request: a prompt of another prefix whose marker its answer begins with."""


@per_history
def marked_answers(history: History) -> MarkedAnswers:
    """Compare the beginning of each answer with all markers of the run."""
    marked = [record for record in whole_answers(history) if len(record.marker) >= MARKER_START]
    owners: dict[tuple[int, ...], RequestRecord] = {}
    for record in marked:
        owners.setdefault(record.marker[:MARKER_START], record)
    own, foreign = 0, {}
    for record in marked:
        first_tokens = tuple(int(token) for token in record.token_ids[:MARKER_START])
        owner = owners.get(first_tokens)
        if first_tokens == record.marker[:MARKER_START]:
            own += 1
        elif owner is not None and _have_other_prefixes(record, owner):
            foreign[record.id] = owner.prompt_id
    return MarkedAnswers(len(marked), own, foreign)


def _have_other_prefixes(one: RequestRecord, other: RequestRecord) -> bool:
    """A prefix has several markers, and a model may recall another one of its own prefix."""
    return one.first_block is not None and one.first_block != other.first_block


def marker_text(marked: MarkedAnswers) -> str:
    """How many answers have the marker of their prompt; empty for a run without markers."""
    if not marked.answers:
        return ""
    return f"; {marked.own} of {marked.answers} answers begin with the marker of their prompt"
