"""One-line schedules: what they mean, and one clear line for what they cannot mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.fault_line import SHORT, parse_line
from chaos.inside.inside_kinds import problems
from chaos.inside.trigger_decisions import fires
from history.protocol.schedule import Trigger as ArmedTrigger
from history.scenario import FaultSpec, Trigger


@pytest.mark.parametrize(
    ("line", "kind", "trigger", "params"),
    [
        (
            "20%delay(50ms..400ms)",
            "copy_delay",
            Trigger(probability=0.2),
            {"min_ms": 50, "max_ms": 400},
        ),
        ("every 7 offset 3 bitflip", "bit_flip", Trigger(every=7, offset=3), {}),
        ("every 7 zero", "zero_block", Trigger(every=7), {}),
        ("nth 40,41 miss", "lookup_miss", Trigger(nth=(40, 41)), {}),
        ("10% of keys miss", "lookup_miss", Trigger(key_share=0.1), {}),
        ("5%10*fail(blocks=all)", "load_failure", Trigger(probability=0.05, limit=10), {"blocks": "all"}),
        (
            "in decode 20%delay(50ms..400ms)",
            "copy_delay",
            Trigger(probability=0.2, states=("decode",)),
            {"min_ms": 50, "max_ms": 400},
        ),
        ("in queued,loading every 3 miss", "lookup_miss", Trigger(every=3, states=("queued", "loading")), {}),
        (
            "in storing , prefill zero",
            "zero_block",
            Trigger(every=1, states=("storing", "prefill")),
            {},
        ),
        ("in prefill 10% of keys miss", "lookup_miss", Trigger(key_share=0.1, states=("prefill",)), {}),
        ("3*refuse", "store_refused", Trigger(every=1, limit=3), {}),
        ("bit_flip(bit=30, dry_run=true)", "bit_flip", Trigger(every=1), {"bit": 30, "dry_run": True}),
    ],
)
def test_schedule_term_is_parsed_to_kind_trigger_and_parameters(
    line: str, kind: str, trigger: Trigger, params: dict[str, object]
) -> None:
    (fault,) = parse_line(line)
    assert (fault.kind, fault.trigger, fault.params) == (kind, trigger, params)
    assert problems(fault.kind, fault.params) == []


def test_chained_terms_get_separate_fault_ids() -> None:
    faults = parse_line("20%miss; nth 1 miss ;3*zero")
    assert [fault.id for fault in faults] == ["lookup-miss-1", "lookup-miss-2", "zero-block-3"]


@given(st.text(alphabet="0123456789%*;,.()= abcdefghijklmnopqrstuvwxyz_", max_size=60))
def test_any_schedule_line_is_parsed_or_refused(line: str) -> None:
    try:
        faults = parse_line(line)
    except ValueError:
        return
    assert all(isinstance(fault, FaultSpec) for fault in faults)


@given(st.sampled_from(sorted(SHORT)), st.integers(1, 99), st.integers(1, 50))
def test_share_and_limit_are_parsed(name: str, percent: int, limit: int) -> None:
    (fault,) = parse_line(f"{percent}%{limit}*{name}")
    assert fault.trigger == Trigger(probability=percent / 100, limit=limit)


def test_block_key_is_struck_at_every_invocation_or_at_none() -> None:
    trigger = ArmedTrigger(key_share=0.3)
    keys = [f"{number:064x}" for number in range(400)]
    struck = {key for key in keys if fires(trigger, 1, "gone", "lookup", 0, key)}
    assert 80 < len(struck) < 160
    for n in (1, 7, 1000):
        assert {key for key in keys if fires(trigger, 1, "gone", "lookup", n, key)} == struck
    assert {key for key in keys if fires(trigger, 2, "gone", "lookup", 0, key)} != struck
