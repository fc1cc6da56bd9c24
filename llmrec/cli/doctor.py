"""``llmrec doctor``: what this machine has, and how to mend what is missing.

Exit status 0 when everything the core needs is there, 1 when something is not. Optional parts that
are absent are named with the command that installs them and do not change the status.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import util
from pathlib import Path

import typer

from llmrec.cli.terminal import JsonOption, mark, print_json, styled

EXTRAS = {
    "text": "sentence_transformers",
    "vllm": "vllm",
    "faiss": "faiss",
    "ray": "ray",
    "onnx": "onnxruntime",
    "track": "trackio",
}
_GIB = 1 << 30


@dataclass(frozen=True)
class Check:
    """One line of the doctor.

    Attributes:
        name: What was looked at.
        found: What was found.
        good: Whether that is as it should be.
        needed: Whether the core needs it.
        fix: What to do; empty where nothing is to be done.
    """

    name: str
    found: str
    good: bool = True
    needed: bool = True
    fix: str = ""


def doctor(as_json: JsonOption = False) -> None:
    """Check versions, threads, memory, GPU, data and extras, and say how to mend them."""
    checks = list(run_checks())
    healthy = all(check.good for check in checks if check.needed)
    if as_json:
        print_json({"healthy": healthy, "checks": [asdict(check) for check in checks]})
    else:
        _print(checks, healthy)
    raise typer.Exit(0 if healthy else 1)


def run_checks() -> Iterator[Check]:
    """All checks, cheapest first."""
    recent = sys.version_info >= (3, 11)
    fix = "" if recent else "install Python 3.11 or newer"
    yield Check("python", platform.python_version(), recent, fix=fix)
    from llmrec.runs.environment import PACKAGES

    for package in PACKAGES:
        yield _package(package)
    yield _threads()
    yield _memory()
    yield _gpu()
    yield _data_home()
    yield _data_sets()
    yield _disk()
    for extra, module in EXTRAS.items():
        there = util.find_spec(module) is not None
        fix = "" if there else f"pip install 'llmrec[{extra}]'"
        yield Check(f"extra {extra}", "installed" if there else "not installed", there, False, fix)


def _package(name: str) -> Check:
    from llmrec.runs.environment import package_version

    version = package_version(name)
    if version is None:
        return Check(name, "not installed", False, fix=f"pip install {name}")
    return Check(name, version)


def _threads() -> Check:
    from llmrec.runs.environment import cores

    available = cores()
    limit = os.environ.get("OMP_NUM_THREADS")
    if limit and limit.isdigit() and int(limit) < available:
        found = f"{available} cores, OMP_NUM_THREADS={limit}"
        return Check("threads", found, True, False, "unset OMP_NUM_THREADS to use all cores")
    return Check("threads", f"{available} cores")


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / _GIB
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return Check("memory", "unknown on this system", needed=False)
    fix = "" if total >= 4 else "4 GiB are needed for the quickstart; close other programs"
    return Check("memory", f"{total:.1f} GiB, {free:.1f} GiB unused", total >= 4, False, fix)


def _gpu() -> Check:
    try:
        import torch
    except ImportError:
        return Check("gpu", "unknown without torch", False, False)
    if torch.cuda.is_available():
        size = torch.cuda.get_device_properties(0).total_memory / _GIB
        return Check("gpu", f"{torch.cuda.get_device_name(0)}, {size:.0f} GiB", needed=False)
    if torch.backends.mps.is_available():
        return Check("gpu", "Apple GPU", needed=False)
    return Check("gpu", "none; everything runs on the CPU", needed=False)


def _data_home() -> Check:
    folder = os.environ.get("LLMREC_DATA_HOME")
    if not folder:
        fix = "set LLMREC_DATA_HOME to a folder of data sets to use your own copies"
        return Check("LLMREC_DATA_HOME", "not set", True, False, fix)
    there = Path(folder).is_dir()
    fix = "" if there else "create the folder or correct the variable"
    return Check(
        "LLMREC_DATA_HOME", folder if there else f"{folder} does not exist", there, fix=fix
    )


def _data_sets() -> Check:
    from llmrec.cli.data import list_data_sets

    rows = list_data_sets()
    found = [row["name"] for row in rows if row["found"] not in (None, "simulator")]
    text = ", ".join(found) if found else "none found; the simulator always works"
    fix = "" if found else "llmrec data prepare ml-latest-small"
    return Check("data sets", text, bool(found), False, fix)


def _disk() -> Check:
    free = shutil.disk_usage(Path.cwd()).free / _GIB
    fix = "" if free >= 2 else "free at least 2 GiB for runs and checkpoints"
    return Check("free disk", f"{free:.1f} GiB here", free >= 2, False, fix)


def _print(checks: list[Check], healthy: bool) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{mark(check.good)} {check.name.ljust(width)}  {check.found}")
        if check.fix:
            print(f"  {' ' * width}  {styled('-> ' + check.fix, 'yellow')}")
    print()
    print("Ready: try 'llmrec quickstart'." if healthy else "Something the core needs is missing.")
