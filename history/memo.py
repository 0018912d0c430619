"""Memoise pure functions of a history: several judges and the report use their results."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from history.reader import History

Answer = TypeVar("Answer")


def per_history(function: Callable[[History], Answer]) -> Callable[[History], Answer]:
    """Memoise `function(history)` for each History, as long as that is referenced.

    The result must not reference the history, and nobody may change it.
    """
    known: WeakKeyDictionary[History, Answer] = WeakKeyDictionary()

    @wraps(function)
    def memoised(history: History) -> Answer:
        if history not in known:
            known[history] = function(history)
        return known[history]

    return memoised
