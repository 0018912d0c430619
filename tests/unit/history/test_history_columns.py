"""Changes come out as they went in, however many batches they are sorted in and whatever is kept once."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from history import columnar
from history.columnar import Changes

SCRAPES = st.lists(
    st.dictionaries(st.integers(0, 5), st.sampled_from([0.0, 1.0, 2.0]), max_size=4), max_size=12
)


def by_series(scrapes: list[dict[int, float]]) -> dict[int, tuple[list[int], list[float]]]:
    """The same without any batch."""
    found: dict[int, tuple[list[int], list[float]]] = {}
    for scrape, changed in enumerate(scrapes):
        for series, value in changed.items():
            at, values = found.setdefault(series, ([], []))
            at.append(scrape)
            values.append(value)
    return found


def taken(scrapes: list[dict[int, float]]) -> Changes:
    changes = Changes()
    for scrape, changed in enumerate(scrapes):
        changes.add(scrape, changed, changed.values(), known=6)
    return changes


@pytest.mark.parametrize("batch", [1, 3, 7, 1 << 21])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scrapes=SCRAPES)
def test_columns_do_not_depend_on_the_batch_size(
    monkeypatch: pytest.MonkeyPatch, batch: int, scrapes: list[dict[int, float]]
) -> None:
    monkeypatch.setattr(columnar, "BATCH", batch)
    found = {
        series: (at.tolist(), values.tolist()) for series, (at, values) in taken(scrapes).columns().items()
    }
    assert found == by_series(scrapes)


def test_equal_columns_are_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "BATCH", 6)
    first, second, third = taken([{0: n, 1: n, 2: -n} for n in range(1, 9)]).columns().values()
    assert first[0] is second[0] is third[0]
    assert first[1] is second[1]
    assert third[1].tolist() == [-value for value in first[1].tolist()]


def test_equal_bytes_of_scrapes_and_values_are_not_merged() -> None:
    tiny = float.fromhex("0x0.0000200000001p-1022")  # The bytes of the scrapes 1 and 2.
    found = taken([{}, {0: 1.0, 1: tiny}, {0: 2.0}]).columns()
    assert found[0][0].tobytes() == found[1][1].tobytes()
    assert found[0][0].tolist() == [1, 2]
    assert found[1][1].tolist() == [tiny]


@pytest.mark.parametrize("odd", ["NaN", None])
def test_scrape_with_an_invalid_value_is_rejected_as_a_whole(odd: object) -> None:
    changes = taken([{0: 1.0}])
    with pytest.raises(TypeError):
        changes.add(1, [0, 1, 2], [5.0, odd, 6.0], known=3)
    changes.add(2, [0], [7.0], known=3)
    ((at, values),) = changes.columns().values()
    assert (at.tolist(), values.tolist()) == ([0, 2], [1.0, 7.0])


@pytest.mark.parametrize("unknown", [-1, 3, 2**64])
def test_scrape_with_an_unknown_series_is_rejected_as_a_whole(unknown: int) -> None:
    changes = taken([{0: 1.0}])
    with pytest.raises(ValueError, match="series"):
        changes.add(1, [0, unknown, 1], [5.0, 5.0, 6.0], known=3)
    ((at, values),) = changes.columns().values()
    assert (at.tolist(), values.tolist()) == ([0], [1.0])
