"""A planned strike on the network reaches the proxy, is proved by what it did, and is undone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.fault_catalogue import KINDS, defaults
from chaos.outside.injector import NETWORK, ActiveFault, DueInjection
from chaos.outside.network.proxy_control import (
    CutCommand,
    DelayCommand,
    LoseCommand,
    ProxyCommand,
    ReadSlowlyCommand,
    StallCommand,
)
from chaos.outside.outside_kinds import TargetInjector, kinds_of
from history.protocol.outside import NetworkCut, OutsideFiring
from history.protocol.schedule import Value
from tests.support.fake_server_runs import PATIENCE_S, wait_for
from tests.support.proxied_server import Bench, proxied


def strike(kind: str, n: int = 0, **params: Value) -> DueInjection:
    whole = {**defaults(KINDS[kind].parameters), **params}
    return DueInjection(fault="f", kind=kind, site="answered", n=n, params=whole, seed=7)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with proxied(tmp_path) as bench:
        yield bench


def proof_of(active: ActiveFault) -> OutsideFiring:
    deadline = time.monotonic() + PATIENCE_S
    while (proof := active.verify()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return proof


class CommandLog:
    """A proxy that keeps the commands that it gets."""

    def __init__(self) -> None:
        self.commands: list[ProxyCommand] = []

    def send(self, command: ProxyCommand) -> None:
        self.commands.append(command)


def test_each_network_kind_sends_a_command_with_its_parameters() -> None:
    log = CommandLog()
    injector = TargetInjector(NETWORK, log)
    for due in (
        strike("network_cut", 3),
        strike("network_stall"),
        strike("network_latency", up_ms=5),
        strike("network_loss", share=0.5),
        strike("slow_reader", requests=2),
    ):
        injector.prepare(due).apply()
    assert log.commands == [
        CutCommand(strike="f/3"),
        StallCommand(strike="f/0"),
        DelayCommand(strike="f/0", seed=7, up_ms=5.0, down_ms=50.0, jitter_ms=0.0),
        LoseCommand(strike="f/0", seed=7, share=0.5, again_ms=200.0),
        ReadSlowlyCommand(strike="f/0", requests=2, bytes_per_s=4000.0),
    ]
    assert set(injector.kinds) == set(kinds_of(NETWORK))


def test_cut_evidence_names_its_requests_and_reverts(bench: Bench) -> None:
    active = TargetInjector(NETWORK, bench.network).prepare(strike("network_cut"))
    with bench.client.completing("a", tokens=300):
        wait_for(lambda: bench.began("a"))
        active.apply()
        proof = proof_of(active)
    active.revert()
    wait_for(lambda: active.reverted() is not None)
    assert isinstance(proof, NetworkCut)
    assert (proof.connections, proof.requests) == (1, ["a"])
    assert [record.outcome for record in bench.client.complete("b")] == ["ok"]


def test_a_strike_without_effect_is_not_proved(bench: Bench) -> None:
    active = TargetInjector(NETWORK, bench.network).prepare(strike("network_stall"))
    active.apply()
    time.sleep(0.1)
    assert active.verify() is None
    assert active.reverted() is None
    active.revert()
    active.revert()
    wait_for(lambda: active.reverted() is not None)
    assert active.verify() is None


def test_revert_succeeds_after_the_proxy_died(bench: Bench) -> None:
    active = TargetInjector(NETWORK, bench.network).prepare(strike("network_stall"))
    active.apply()
    bench.process.kill()
    bench.process.wait()
    active.revert()
