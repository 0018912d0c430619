"""A second Ctrl-C must not cut short the clean-up that the first one began."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from kvchaos.errors import SIGNALS, Interrupted, interrupts


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_raised_with_its_name(number: signal.Signals) -> None:
    with interrupts() as handler:
        assert handler.came is None
        with pytest.raises(Interrupted, match=number.name) as caught:
            signal.raise_signal(number)
        assert caught.value.signal == number.name
        assert handler.came == number.name


@pytest.mark.parametrize("number", SIGNALS)
def test_later_signals_are_ignored(number: signal.Signals) -> None:
    with interrupts() as handler:
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(number)
        signal.raise_signal(number)
        assert handler.came == "SIGTERM"


def test_a_signal_that_another_thread_receives_is_raised_in_the_main_thread() -> None:
    other = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
    with interrupts(), pytest.raises(Interrupted):  # noqa: PT012 (it comes at any moment of these)
        other.start()
        other.join()
    other.join()


def test_signal_handlers_are_restored_after_the_block() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with interrupts():
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_signal_handlers_are_restored_after_an_interrupt() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(Interrupted), interrupts():
        os.kill(os.getpid(), signal.SIGHUP)
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_next_interrupts_block_receives_signals_again() -> None:
    for _ in range(2):
        with pytest.raises(Interrupted), interrupts():
            signal.raise_signal(signal.SIGINT)
