"""A real browser for tests of pages: headless Chromium, where it is at hand."""

import re
import shutil
import subprocess
import tempfile

import pytest

EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--enable-logging=stderr", "--v=0", "--window-size=900,700"),
]


def rendered(url, *, milliseconds=2_000):
    """The document that a page has become after a while, and what its console said."""
    if EXECUTABLE is None:
        pytest.skip("no Chromium here: install the package chromium to try pages in a real browser")
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as profile:
        done = subprocess.run(
            [
                EXECUTABLE,
                *FLAGS,
                f"--user-data-dir={profile}",
                f"--virtual-time-budget={milliseconds}",
                "--dump-dom",
                url,
            ],
            capture_output=True,
            text=True,
            timeout=90,
        )
    return done.stdout, re.findall(r"CONSOLE.*", done.stderr)
