"""Does the chaos module fit the vLLM that is installed? Asked of one release of each generation.

A plug-in that overlooks a method, copies a wrong block or leaves damage behind would blame the server
for its own bugs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from kvchaos.errors import UsageError
from tests.server.contract.answers import Answers, answers_of
from tests.server.contract.generations import ONE_OF_EACH, generation_of
from tests.server.contract.listed import CHECKS, LEFT_OUT

pytestmark = pytest.mark.server

SIDE_BY_SIDE = 2
"""Interpreters at a time: they mostly wait."""

RunChecks = Callable[[str], Answers]


@pytest.fixture(scope="module")
def checked(request: pytest.FixtureRequest) -> Iterator[RunChecks]:
    """Results of the contract checks of a release.

    The checks of all chosen tests begin at once. A release that is not installed is a failure with the
    command that installs it.
    """
    chosen = [item for item in request.session.items if item.parent is request.node]
    releases = dict.fromkeys(
        str(item.callspec.params["release"]) for item in chosen if isinstance(item, pytest.Function)
    )
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        begun: dict[str, Future[Answers]] = {
            release: pool.submit(answers_of, release) for release in releases
        }

        def answers(release: str) -> Answers:
            try:
                return begun[release].result()
            except UsageError as error:
                pytest.fail(str(error), pytrace=False)

        yield answers
        pool.shutdown(cancel_futures=True)


EXPRESSED = [
    (release, check)
    for release in ONE_OF_EACH
    for check in CHECKS
    if check not in LEFT_OUT.get(generation_of(release), {})
]


@pytest.mark.parametrize(("release", "check"), EXPRESSED)
def test_the_chaos_module_fits(release: str, check: str, checked: RunChecks) -> None:
    answers = checked(release)
    assert check in answers.details, f"the check did not run; {answers.end}"
    detail = answers.details[check]
    assert detail is None, detail


@pytest.mark.parametrize("release", ONE_OF_EACH)
def test_contract_checks_finish_and_are_all_listed(release: str, checked: RunChecks) -> None:
    answers = checked(release)
    assert answers.code == 0, answers.end
    assert set(answers.details) == set(CHECKS), "a check is not listed, or a listed one did not run"


@pytest.mark.parametrize("release", ONE_OF_EACH)
def test_skipped_checks_of_a_release_have_a_reason(release: str, checked: RunChecks) -> None:
    assert checked(release).left_out == LEFT_OUT.get(generation_of(release), {})
