"""Does the chaos module fit the vLLM that is installed? Asked of the real one, in its own interpreter.

A plug-in that overlooks a method, copies a wrong block or leaves damage behind would blame the server
for its own bugs.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache as once
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.paths import cache_folder
from kvchaos.servers.registry import ServerEnv, find_server

pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
SCRIPT = Path("tests/server/contract/checks.py")
RELEASES = ("0.18.0", "0.32.0")
DEADLINE_S = 240
CHECKS = (
    "generation_is_told_by_what_is_installed",
    "unknown_generation_ends_with_one_clear_line",
    "modules_offer_what_the_connector_uses",
    "manager_forwards_every_method_of_vllm",
    "workers_have_every_method_of_vllm",
    "spec_overrides_only_what_is_there",
    "manager_answers_as_vllm_when_nothing_is_armed",
    "manager_answers_as_vllm_again_when_healed",
    "manager_asks_vllm_nothing_more_when_nothing_is_armed",
    "lookup_miss_hides_blocks_and_says_so",
    "lookup_miss_counts_only_blocks_that_would_hit",
    "store_refused_needs_a_new_block",
    "store_refused_leaves_no_trace_in_the_manager",
    "a_block_evicted_while_armed_is_new_again",
    "a_failed_store_makes_its_blocks_new_again",
    "evict_takes_idle_blocks_and_says_how_many",
    "evict_all_spares_blocks_in_use",
    "evict_of_nothing_does_not_count_as_fired",
    "a_shrunk_tier_has_room_for_the_rest_only_and_heals",
    "a_store_told_as_failed_leaves_no_block",
    "lookup_retry_puts_off_and_then_answers",
    "over_report_claims_one_block_more",
    "a_hit_whose_block_is_evicted_cannot_be_loaded",
    "stored_and_loaded_blocks_are_bit_identical",
    "chunks_of_two_blocks_keep_their_order",
    "a_load_may_begin_in_the_middle_of_a_chunk",
    "a_delayed_load_is_held_until_its_time",
    "a_waited_for_load_is_done_when_the_wait_returns",
    "a_delay_lies_between_its_bounds_and_differs",
    "a_delay_of_one_direction_leaves_the_other_alone",
    "a_copy_held_while_its_fault_is_healed_still_ends",
    "bit_flip_changes_one_bit_of_one_loaded_block",
    "bit_flip_never_touches_the_tier",
    "zero_block_empties_one_loaded_block_in_all_planes",
    "a_store_is_not_damaged_unless_asked_for",
    "a_delayed_load_is_damaged_when_it_has_ended_not_before",
    "a_dry_run_changes_nothing",
    "nothing_is_damaged_after_healing",
    "bit_flip_hits_as_many_numbers_as_asked_one_after_the_other",
    "damage_of_one_plane_hits_the_plane_that_is_asked_for",
    "noise_changes_the_lower_half_of_every_number_and_keeps_it_finite",
    "nan_makes_exactly_one_number_not_a_number",
    "nan_in_numbers_of_one_byte_changes_that_byte_alone",
    "swap_blocks_exchanges_two_blocks_of_the_copy",
    "shift_blocks_gives_each_block_the_content_of_the_next",
    "truncate_block_zeroes_the_second_half_of_one_block",
    "stale_block_brings_content_of_an_earlier_copy",
    "stale_block_is_refused_when_no_copy_came_before",
    "a_copy_of_one_block_offers_nothing_to_swap_or_shift",
    "damage_of_a_store_lies_in_the_tier_and_comes_with_every_load",
    "damage_of_a_store_leaves_the_rest_of_the_tier_alone",
    "damage_of_a_store_in_chunks_of_two_blocks_hits_that_store",
    "a_fault_of_both_directions_hits_stores_and_loads",
    "copy_refused_takes_no_copy_and_moves_nothing",
    "a_refused_store_leaves_the_tier_as_it_was",
    "copy_failed_is_told_as_a_failure_of_that_job_alone",
    "completion_late_is_told_once_when_its_time_has_come",
    "a_late_end_does_not_make_the_copy_late",
    "a_late_end_is_told_although_its_fault_was_healed",
    "completion_lost_is_never_told",
    "completion_twice_is_told_twice",
    "completion_reorder_tells_the_ends_in_reverse",
    "a_result_fault_moves_the_right_content",
    "a_dry_run_of_a_reorder_keeps_the_order",
    "copies_and_their_ends_are_plain_when_nothing_is_armed_or_all_is_healed",
    "connector_is_vllms_own_with_methods_that_fit",
    "load_failure_reports_the_chosen_blocks_once",
    "load_failure_of_one_block_draws_it",
    "no_load_fails_when_nothing_is_armed_or_all_is_healed",
    "the_pinned_tier_is_found_in_vllms_own_worker",
    "a_tier_in_another_layout_is_not_taken_for_plain_blocks",
)


@dataclass(frozen=True)
class Answers:
    """What the checks of one release said."""

    details: dict[str, str | None]
    """By check: what is wrong, None when nothing is."""
    code: int | None
    """Exit code; None when the deadline ended it."""
    last_words: str

    @property
    def end(self) -> str:
        return f"exit code {self.code}; last words: {self.last_words[-2000:]}"


@once
def answers_of(release: str) -> Answers:
    """Run the checks once for all tests. Raises UsageError when the environment is not there."""
    server = find_server(release, cache_folder())
    command = [server.python, SCRIPT]
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as noise:
        code: int | None = None
        # What was said before the deadline is kept, and the other tests do not wait for it again.
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = subprocess.run(
                command,
                cwd=ROOT,
                env=environment_of(server),
                stdout=said,
                stderr=noise,
                timeout=DEADLINE_S,
                check=False,
            ).returncode
        said.seek(0)
        noise.seek(0)
        lines = [json.loads(line) for line in said if line.startswith('{"check"')]
        details = {line["check"]: None if line["ok"] else line["detail"] for line in lines}
        return Answers(details, code, noise.read())


def environment_of(server: ServerEnv) -> dict[str, str]:
    return {
        **os.environ,
        "LD_PRELOAD": ":".join(server.preload),
        "OMP_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_NO_USAGE_STATS": "1",
    }


@pytest.fixture
def ask() -> Callable[[str], Answers]:
    """Asks a release. A release that is not installed is a failure with the command that mends it."""

    def answers(release: str) -> Answers:
        try:
            return answers_of(release)
        except UsageError as error:
            pytest.fail(str(error), pytrace=False)

    return answers


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("release", RELEASES)
def test_the_chaos_module_fits(release: str, check: str, ask: Callable[[str], Answers]) -> None:
    answers = ask(release)
    assert check in answers.details, f"the check did not run; {answers.end}"
    detail = answers.details[check]
    assert detail is None, detail


@pytest.mark.parametrize("release", RELEASES)
def test_the_checks_ran_to_their_end_and_all_of_them_are_expected(
    release: str, ask: Callable[[str], Answers]
) -> None:
    answers = ask(release)
    assert answers.code == 0, answers.end
    assert set(answers.details) <= set(CHECKS), "a check ran that is not listed here"
