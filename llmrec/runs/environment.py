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


def source_commit(root: Path = Path(__file__).parents[2]) -> str | None:
    """Commit of the source tree the package runs from, or None when installed without one.

    ``-dirty`` follows where a tracked file differs from the commit; results written since do not
    count, as no measurement reads them.
    """
    if not (root / ".git").exists():
        return None
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    changed = _git(root, "status", "--porcelain", "-uno", "--", ".", ":(exclude)eval/results")
    if not commit or changed is None:
        return None
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *words: str) -> str | None:
    """What git prints, or None where it is missing, late or refuses."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
