"""A real browser, without network. Where there is none, tests/programs.py keeps these tests from the run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from kvchaos.tools.tool import BROWSER_ARGUMENTS, need_browser


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = need_browser(os.environ)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=program, headless=True, args=list(BROWSER_ARGUMENTS)
        )
        yield chromium
        chromium.close()
