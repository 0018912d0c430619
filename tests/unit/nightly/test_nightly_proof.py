"""The proof over stored pairs: each aim is met or not met by its figures, and no part is invented."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from kvchaos.cli import nightly_proof_commands
from kvchaos.cli.nightly_proof_commands import prove_command
from kvchaos.errors import UsageError
from kvchaos.nightly.night_records import Night, NightPoint
from kvchaos.nightly.night_store import night_history
from kvchaos.nightly.proof.nightly_proof import ProofSize, prove
from kvchaos.nightly.proof.proof_checks import aim_checks, false_quarters
from kvchaos.nightly.proof.proof_data import PROOF, AimCheck, NightlyProof, read_proof, write_proof
from kvchaos.nightly.proof.proof_runs import DELAYS, LEAST_STEPS, WATCHED, known_delay
from kvchaos.nightly.proof.stored_pairs import (
    BISECTIONS,
    DELAYED,
    MOCK_AA,
    SERVER_AA,
    StoredBisection,
    StoredNight,
    StoredPairs,
    StoredProbe,
    append_pairs,
    read_pairs,
    server_nights,
)
from tests.unit.nightly.test_cli_nightly import night, point

SMALL = ProofSize(trials=300, equal_nights=20_000, step_nights=2000, searches=20)
QUIET = 0.018
Made = Sequence[StoredNight]


def made_night(
    index: int, noise: float, delayed: str | None = None, ratio: float = 1.0, offset: float = 0.0
) -> StoredNight:
    """Normal pairs of runs with this noise, as a share."""
    rng = np.random.default_rng([index, round(1000 * ratio)])

    def stage(pairs: int) -> dict[str, list[float]]:
        return {
            series: [
                float(each) + offset + math.log(ratio) * (series == delayed)
                for each in rng.normal(0.0, noise * math.sqrt(2), pairs)
            ]
            for series in WATCHED
        }

    return StoredNight(
        night=f"2026-11-{1 + index // 24:02}T{index % 24:02}:00:00Z",
        source="mock",
        delayed=delayed,
        step=math.log(ratio) if delayed else 0.0,
        least_steps=LEAST_STEPS,
        load_average=1.0,
        screen=stage(6),
        confirm=stage(18) if delayed else {},
    )


def equal_nights(noise: float = QUIET, count: int = 40) -> list[StoredNight]:
    return [made_night(index, noise) for index in range(count)]


def delayed_nights(noise: float = QUIET, count: int = 30) -> list[StoredNight]:
    delays = [known_delay(index) for index in range(count)]
    return [
        made_night(index, noise * delay.noise / DELAYS[0].noise, figure, delay.ratio)
        for index, (delay, figure) in enumerate(delays)
    ]


def search(found: int | None = 7) -> StoredBisection:
    return StoredBisection(
        night="2026-11-01T00:00:00Z",
        builds=32,
        slow_from=7,
        delayed="ttft-median",
        step=0.05,
        drawn_noise=0.02,
        found=found,
        confidence=0.999,
        built=[16, 8, 4, 6, 7],
        load_average=1.0,
        probes=[StoredProbe(control=0, candidate=16, slowdowns=[0.05] * 6)],
    )


def proof_of(
    aa: Made = (), server: Made = (), delayed: Made = (), searches: Sequence[StoredBisection] = ()
) -> NightlyProof:
    stored = StoredPairs(
        mock_aa=list(aa), server_aa=list(server), delayed=list(delayed), bisections=list(searches)
    )
    return prove(stored, 1, SMALL)


def missed(proof: NightlyProof, start: str) -> list[AimCheck]:
    """Aims of one part that are not met."""
    return [check for check in aim_checks(proof) if check.id.startswith(start) and not check.met]


@pytest.fixture(scope="module")
def quiet() -> NightlyProof:
    return proof_of(equal_nights(), equal_nights(count=20), delayed_nights(), [search()] * 5)


def test_quiet_nights_meet_the_aims(quiet: NightlyProof) -> None:
    # 20,000 nights are too few for the bound of a quarter.
    assert [check.id for check in aim_checks(quiet) if not check.met] == ["alarms/resampled"]


def test_share_of_found_steps_is_near_the_stated_power(quiet: NightlyProof) -> None:
    assert [shares.ratio for shares in quiet.detections] == [1.05, 1.10]
    for shares in quiet.detections:
        assert shares.live == 15
        assert shares.rows == 5
        assert shares.first / shares.resampled == pytest.approx(shares.stated, abs=0.1)
        assert shares.within >= shares.first


def test_noisy_nights_miss_the_aims_of_detection() -> None:
    proof = proof_of(delayed=delayed_nights(noise=0.03))
    assert len(missed(proof, "detection/")) == 5
    assert proof.alarms == []


def test_few_live_nights_miss_the_aim_of_their_number() -> None:
    assert len(missed(proof_of(delayed=delayed_nights(count=12)), "detection/nights")) == 1


def test_stored_alarm_misses_its_aim() -> None:
    bad = made_night(50, 0.001, "ttft-median", 1.2)
    alarm = replace(bad, delayed=None, step=0.0)
    assert len(missed(proof_of(equal_nights(count=10)), "alarms/stored")) == 0
    assert len(missed(proof_of([*equal_nights(count=10), alarm]), "alarms/stored")) == 1


def test_offset_of_nights_misses_the_aim_of_independence() -> None:
    shifted = [made_night(index, QUIET, offset=0.05 * (index % 3)) for index in range(40)]
    assert len(missed(proof_of(shifted), "independence/offsets")) == 1


def test_difference_of_the_sides_misses_its_aim_and_raises_no_resampled_alarm() -> None:
    proof = proof_of([made_night(index, QUIET, offset=0.03) for index in range(40)])
    assert len(missed(proof, "independence/sides")) == 1
    assert {rate.resampled_alarms for rate in proof.alarms} == {0}


def test_wrong_or_missing_search_misses_its_aim() -> None:
    assert len(missed(proof_of(searches=[search()] * 5), "bisection/")) == 0
    assert len(missed(proof_of(searches=[*[search()] * 4, search(8)]), "bisection/")) == 1
    assert len(missed(proof_of(searches=[search()] * 4), "bisection/")) == 1


def test_nothing_stored_proves_nothing() -> None:
    proof = proof_of()
    assert (proof.detections, proof.alarms, proof.visible, proof.bisections) == ([], [], [], [])
    assert not any(check.met for check in aim_checks(proof))


def test_incomplete_nights_of_a_server_do_not_count() -> None:
    cut = [replace(each, screen={**each.screen, "throughput": [0.0]}) for each in equal_nights(count=4)]
    assert proof_of(server=cut).alarms == []


def test_a_quarter_has_many_chances_of_a_false_alarm() -> None:
    assert false_quarters(0.0) == 0.0
    assert false_quarters(1e-6) == pytest.approx(0.0036, abs=1e-4)
    assert false_quarters(1.0) == 1.0


def test_live_nights_have_each_delay_three_times_in_a_row() -> None:
    own = [known_delay(index)[1] for index in range(30) if known_delay(index)[0] == DELAYS[0]]
    assert own[:6] == ["ttft-median"] * 3 + ["itl-median"] * 3
    assert len(own) == 15


def test_control_nights_of_a_history_are_stored_with_their_watched_series() -> None:
    nights: list[Night] = [night(1, "control"), night(2)]
    points: list[NightPoint] = [point(1, [0.0] * 6), point(2, [0.1] * 6)]
    (found,) = server_nights(night_history(nights, points, []))
    assert (found.night, found.source) == (nights[0].night, "0.32.0")
    assert found.screen == {"small/load/ttft-median": [0.0] * 6}
    assert found.least_steps.keys() == found.screen.keys()


def store(folder: Path) -> None:
    for each in equal_nights(count=5):
        append_pairs(folder / MOCK_AA, each)
        append_pairs(folder / SERVER_AA, each)
    for one in delayed_nights(count=6):
        append_pairs(folder / DELAYED, one)
    append_pairs(folder / BISECTIONS, search())


def test_stored_pairs_and_proof_round_trip(tmp_path: Path, quiet: NightlyProof) -> None:
    store(tmp_path)
    stored = read_pairs(tmp_path)
    assert stored.mock_aa == stored.server_aa == equal_nights(count=5)
    assert stored.bisections == [search()]
    write_proof(quiet, tmp_path / PROOF)
    assert aim_checks(read_proof(tmp_path / PROOF)) == aim_checks(quiet)


def test_damaged_line_is_named_with_its_number(tmp_path: Path) -> None:
    store(tmp_path)
    path = tmp_path / DELAYED
    path.write_bytes(path.read_bytes() + b'{"v": 2}\n')
    with pytest.raises(UsageError, match=f"{DELAYED}:7"):
        read_pairs(tmp_path)


def test_command_proves_stored_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nightly_proof_commands, "SIZE", SMALL)
    assert prove_command(history=tmp_path, live=0) == 1
    store(tmp_path)
    assert prove_command(history=tmp_path, live=0) == 1
    assert read_proof(tmp_path / PROOF).detections[0].live == 3
