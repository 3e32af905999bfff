"""A served run in its own process, and a browser to look at it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@contextmanager
def open_browser() -> Iterator[object]:
    """Chromium through Playwright; skips, with the reason, where one of them is missing."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install '.[dev]'")
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).is_file():
            pytest.skip(f"no browser: none of {', '.join(_NAMES)} in the path, none of Playwright's own")
        browser = playwright.chromium.launch(executable_path=found, args=list(_FLAGS))
        yield browser
        browser.close()


@contextmanager
def serve(*arguments: object, temporary: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`cdtr serve` on a free port in its own process, with its temporary files in a folder: its address and process."""
    command = [sys.executable, "-m", "cdtr", "serve", *map(str, arguments), "--port", "0", "--device", "cpu"]
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TMPDIR": str(temporary)}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **settings}
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://\S+?(?=,)", line)
        assert address is not None, _rest(process.stderr)
        yield address.group(), process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(20)


def _rest(stream: IO[str] | None) -> str:
    return stream.read() if stream is not None else ""
