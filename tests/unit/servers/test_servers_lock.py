"""The lock: two commands must never work on one environment."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kvchaos.servers.installation import exclusive


def is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def never() -> None:
    pytest.fail("waited for a lock that nobody holds")


def test_lock_is_released_after_the_block(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path, never):
        assert not is_free(path)
    assert is_free(path)


def test_lock_is_released_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(KeyboardInterrupt), exclusive(path, never):
        raise KeyboardInterrupt
    assert is_free(path)


def test_child_of_a_killed_command_keeps_the_lock(tmp_path: Path) -> None:
    """Else the next installation would write into the same folder together with the orphaned uv."""
    path = tmp_path / "lock"
    with exclusive(path, never) as descriptor:
        orphan = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(descriptor,)
        )
    assert not is_free(path)
    orphan.communicate(b"\n", timeout=60)
    assert is_free(path)
