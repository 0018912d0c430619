"""Ranges of releases, such as ">=0.16,<0.19"."""

from __future__ import annotations

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version


def contains(releases: str, release: Version) -> bool:
    """Whether a range has a release; those before a release count as it does."""
    return SpecifierSet(releases, prereleases=True).contains(release)


def range_problem(releases: str) -> str | None:
    """What is wrong with a range as somebody wrote it; None when nothing is."""
    try:
        SpecifierSet(releases)
    except InvalidSpecifier:
        return f'{releases!r} is no version range such as ">=0.16,<0.19"'
    return None
