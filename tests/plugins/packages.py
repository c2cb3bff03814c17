"""Installs the plug-in packages of the tests with pip into a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
NAMES = ("plugin_package", "broken_plugin_package")


def install(folder: Path) -> Path:
    """Returns the folder with both packages installed: put it on PYTHONPATH."""
    sources = [folder / "source" / name for name in NAMES]
    for source in sources:
        shutil.copytree(TESTS / source.name, source)  # building writes beside the source
    target = folder / "site"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", "-q", *offline, "--target", target, *sources]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return target


def python_path(site: Path) -> str:
    """Returns a PYTHONPATH with the packages before what there is."""
    return os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
