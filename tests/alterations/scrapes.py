"""Kinds that alter the scrapes as a whole."""

from __future__ import annotations

from tests.alterations.draft import Draft
from tests.alterations.kind import UNKNOWN, Table

SECOND_NS = 1_000_000_000


def _failing(draft: Draft) -> None:
    """Every second scrape of the run fails."""
    for scrape in draft.scrapes[5:-5:2]:
        scrape.line.update(error="timed out", incarnation=None)


def _no_scrapes(draft: Draft) -> None:
    draft.scrapes[:] = []


def _half_scrapes(draft: Draft) -> None:
    draft.scrapes[len(draft.scrapes) // 2 :] = []


def _skewed(draft: Draft) -> None:
    for scrape in draft.scrapes:
        scrape.line["t_ns"] += 30 * SECOND_NS


def _other_start(draft: Draft) -> None:
    for scrape in draft.scrapes[-5:]:
        if scrape.line["incarnation"] is not None:
            scrape.line["incarnation"] += 1.0


SCRAPES: Table = (
    ("fail", "every second scrape fails", (UNKNOWN, "counters", "progress"), _failing),
    ("lost", "there is no scrape", (UNKNOWN,), _no_scrapes),
    ("cut", "the scrapes end in the middle of the run", (UNKNOWN,), _half_scrapes),
    ("skewed", "the clock of the scrapes is 30 s off", (UNKNOWN,), _skewed),
    ("other-start", "the server is another at the end", ("counters/unexplained-restart",), _other_start),
)
