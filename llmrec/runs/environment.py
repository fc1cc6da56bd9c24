"""What a run ran on: versions and machine, as stored in ``run.yaml``.

Nothing here is imported to be asked for its version, and nothing names the machine or its user.
"""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from llmrec import __version__

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "polars")


def versions() -> dict[str, str]:
    """Versions of python, llmrec and the core packages; ``"not installed"`` where absent."""
    found = {"python": platform.python_version(), "llmrec": __version__}
    return found | {name: package_version(name) or "not installed" for name in PACKAGES}


def package_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def hardware() -> str:
    """The machine in a few words: processor family, cores, GPU if torch sees one."""
    import torch

    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{platform.machine()} {platform.system()}, {cores()} cores{gpu}"


def source_commit() -> str | None:
    """Commit of the source tree the package runs from, or None when installed without one."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
