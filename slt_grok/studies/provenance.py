"""Provenance of results: versions, threads, device, git state."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import slt_grok

PACKAGES = ("torch", "numpy", "scipy", "xarray", "arviz-stats")


def environment() -> dict[str, Any]:
    """Collect versions, threads, processor and the git state of the package's source, ready for JSON."""
    return {
        "slt_grok": slt_grok.__version__,
        "git": git_state(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def git_state() -> str | None:
    """Get the commit of the running source, with `+changes` if files differ from it; None outside git."""
    folder = Path(slt_grok.__file__).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None
