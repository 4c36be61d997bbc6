"""The container file is linted with hadolint, and carries what the program needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_the_container_file_is_free_of_faults() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint has no package for this machine, so the container file is not linted here")
    done = subprocess.run([hadolint, str(ROOT / "Containerfile")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
