"""What is kept of a history must be of that history, and go with it."""

from __future__ import annotations

import gc
import weakref

from history.memo import per_history
from history.reader import History
from tests.support.histories import clean_run


def test_each_history_is_asked_once_and_gets_its_own_answer() -> None:
    calls: list[int] = []

    @per_history
    def count(history: History) -> int:
        calls.append(id(history))
        return len(history.requests)

    run = clean_run()
    first = run.history()
    run.ask("healed", "prompt-0")
    second = run.history()
    assert count(first) == count(first) == len(first.requests)
    assert count(second) == len(second.requests) == len(first.requests) + 1
    assert calls == [id(first), id(second)]


def test_nothing_is_kept_of_a_history_that_is_gone() -> None:
    class Answer:
        pass

    @per_history
    def answer(history: History) -> Answer:
        return Answer()

    history = clean_run().history()
    kept = weakref.ref(answer(history))
    assert kept() is not None
    del history
    gc.collect()
    assert kept() is None
