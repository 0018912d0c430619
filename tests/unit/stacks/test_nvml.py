"""What the driver reports becomes a record, and what it does not report becomes none. With a stand-in."""

from __future__ import annotations

import pynvml
import pytest

from kvchaos.stacks.nvml import GpuReader, bus_gb_per_s, open_gpus
from tests.support.nvml_stand_in import GIB, Card, StandIn, all_answers


def test_machine_without_a_driver_has_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise pynvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)
    assert open_gpus() is None


def linked(generation: int, width: int) -> Card:
    """A card on a bus of this kind."""
    return Card(
        answers={
            "nvmlDeviceGetMaxPcieLinkGeneration": generation,
            "nvmlDeviceGetMaxPcieLinkWidth": width,
        }
    )


def test_bandwidth_of_the_bus_is_that_of_the_slowest_card(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = StandIn([linked(5, 16), linked(4, 16)])
    driver.install(monkeypatch)
    assert bus_gb_per_s() == pytest.approx(31.5, rel=0.01)
    assert driver.shut_down == 1


@pytest.mark.parametrize("cards", [[Card()], [linked(9, 16)], []], ids=["unreported", "unknown", "none"])
def test_bandwidth_of_an_unknown_bus_is_none(cards: list[Card], monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn(cards).install(monkeypatch)
    assert bus_gb_per_s() is None


def test_all_answers_of_a_card_are_recorded_with_their_units(monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn([Card(answers=all_answers())]).install(monkeypatch)
    [card] = GpuReader().read()
    assert (card.index, card.name, card.driver, card.error) == (0, "NVIDIA H100", "580.95", None)
    assert (card.used_bytes, card.total_bytes) == (10 * GIB, 80 * GIB)
    assert (card.bus_sent_bytes_per_s, card.bus_received_bytes_per_s) == (2000 * 1024, 2000 * 1024)
    assert (card.busy_percent, card.power_mw, card.celsius) == (85, 350_000, 61)
    assert (card.clock_mhz, card.max_clock_mhz, card.slowdowns) == (1500, 1980, ())
    assert (card.uncorrected_errors, card.xids) == (0, ())


def test_what_a_card_does_not_report_is_none_and_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn([Card()]).install(monkeypatch)
    [card] = GpuReader().read()
    assert card.used_bytes == 10 * GIB
    assert (card.busy_percent, card.power_mw, card.clock_mhz, card.uncorrected_errors) == (None,) * 4


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (pynvml.nvmlClocksThrottleReasonHwThermalSlowdown, ("thermal",)),
        (pynvml.nvmlClocksThrottleReasonSwThermalSlowdown, ("thermal",)),
        (pynvml.nvmlClocksThrottleReasonHwSlowdown, ("hardware",)),
        (pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown, ("power-brake",)),
        (pynvml.nvmlClocksThrottleReasonSwPowerCap, ("power-cap",)),
        (pynvml.nvmlClocksThrottleReasonGpuIdle, ()),
    ],
)
def test_reasons_of_low_clocks_are_named(
    monkeypatch: pytest.MonkeyPatch, bits: int, names: tuple[str, ...]
) -> None:
    answers = {**all_answers(), "nvmlDeviceGetCurrentClocksThrottleReasons": bits}
    StandIn([Card(answers=answers)]).install(monkeypatch)
    [card] = GpuReader().read()
    assert card.slowdowns == names


def test_critical_error_is_recorded_once_and_of_its_own_card(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = [Card(uuid="GPU-1"), Card(uuid="GPU-2")]
    driver = StandIn(cards)
    driver.install(monkeypatch)
    reader = GpuReader()
    driver.errors = [(cards[1], 79), (cards[1], 31)]
    assert [card.xids for card in reader.read()] == [(), (79, 31)]
    assert [card.xids for card in reader.read()] == [(), ()]


def test_lost_card_is_recorded_with_the_message_of_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    StandIn([Card(lost=True)]).install(monkeypatch)
    [card] = GpuReader().read()
    assert card.error == str(pynvml.NVMLError_GpuIsLost())
    assert card.used_bytes is None


def test_closed_reader_gives_the_driver_back(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = StandIn([Card()])
    driver.install(monkeypatch)
    GpuReader().close()
    assert driver.shut_down == 1
