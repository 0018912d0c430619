"""What is kept of a history must be of that history, and go with it."""

from __future__ import annotations

import gc
import weakref

from history.reader import History, per_history
from tests.support.histories import clean_run


def test_memo_computes_once_per_history() -> None:
    calls: list[int] = []

    @per_history
    def count(history: History) -> int:
        calls.append(id(history))
        return len(history.requests)

    run = clean_run()
    first = run.history()
    run.serve("healed", "prompt-0")
    second = run.history()
    assert count(first) == count(first) == len(first.requests)
    assert count(second) == len(second.requests) == len(first.requests) + 1
    assert calls == [id(first), id(second)]


def test_memo_is_released_with_its_history() -> None:
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
