"""The table of releases: a wrong pin makes an environment that does not import."""

from __future__ import annotations

import pytest
from packaging.version import Version

from kvchaos.errors import UsageError
from kvchaos.servers.install_server import overrides
from kvchaos.servers.releases import TABLE, find_release, known_releases


def test_every_minor_release_from_16_to_32_is_listed() -> None:
    assert {Version(version).minor for version in TABLE} == set(range(16, 33))
    assert all(f"0.{minor}.0" in TABLE for minor in range(16, 33))


def test_releases_are_ordered_as_versions_not_as_text() -> None:
    assert known_releases()[0] == "0.16.0"
    assert known_releases()[-1] == "0.32.0"
    assert known_releases() == sorted(TABLE, key=Version)


@pytest.mark.parametrize(
    ("version", "torch"),
    [
        ("0.16.0", "2.10.0"),
        ("0.19.1", "2.10.0"),
        ("0.20.0", "2.11.0"),
        ("0.26.0", "2.11.0"),
        ("0.27.0", "2.13.0"),
        ("0.32.0", "2.13.0"),
    ],
)
def test_torch_is_the_one_that_the_wheel_was_built_against(version: str, torch: str) -> None:
    assert find_release(version).torch == torch


def test_torch_version_never_decreases() -> None:
    pins = [Version(TABLE[version].torch) for version in known_releases()]
    assert pins == sorted(pins)


@pytest.mark.parametrize(
    ("version", "fits", "does_not"),
    [("0.18.0", "3.10.4", "3.14.0"), ("0.20.0", "3.14.2", "3.15.0"), ("0.32.0", "3.11.0", "3.10.9")],
)
def test_interpreters_without_wheels_are_outside_the_range(version: str, fits: str, does_not: str) -> None:
    wanted = find_release(version).python
    assert fits in wanted
    assert does_not not in wanted


def test_metadata_stub_is_for_0_16_only() -> None:
    assert [version for version in known_releases() if TABLE[version].stub_distribution] == ["0.16.0"]


@pytest.mark.parametrize("version", known_releases())
def test_cuda_linked_packages_are_excluded_by_overrides(version: str) -> None:
    lines = overrides(find_release(version)).splitlines()
    assert lines[0] == f"torch=={TABLE[version].torch}"
    assert lines[1:] == [
        f"{name} ; python_version < '3'" for name in ("torchaudio", "torchcodec", "torchvision")
    ]


@pytest.mark.parametrize(
    ("version", "avx512", "exact"),
    [
        ("0.16.0", True, False),
        ("0.17.0", True, True),
        ("0.17.0", False, False),
        ("0.20.2", True, True),
        ("0.20.2", False, False),
        ("0.21.0", False, True),
        ("0.32.0", True, True),
    ],
)
def test_build_without_onednn_gets_a_logprob_tolerance(version: str, avx512: bool, exact: bool) -> None:
    assert find_release(version).logprob_tolerance(avx512=avx512) == (0.0 if exact else 2e-5)


def test_unknown_release_lists_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        find_release("0.99.0")
    assert "'0.99.0'" in str(caught.value)
    assert "0.16.0" in str(caught.value)
    assert "0.32.0" in str(caught.value)
    assert "\n" not in str(caught.value)
