"""Time ``llmrec --help`` and ``import llmrec``, each in fresh processes.

The first start, which reads the files from disk, is not counted. What an interpreter that imports
nothing takes is measured beside them.
"""

import subprocess
import sys
import time
from pathlib import Path

import record

_COMMANDS = {
    "startup_help": ("llmrec --help", [str(Path(sys.executable).with_name("llmrec")), "--help"]),
    "startup_import": ("python -c 'import llmrec'", [sys.executable, "-c", "import llmrec"]),
}


def measure(processes: int = 10) -> list[Path]:
    """Write the median of a number of fresh processes for each command."""
    bare = sorted(_seconds([sys.executable, "-c", "pass"], processes))[processes // 2]
    paths = []
    for name, (shown, command) in _COMMANDS.items():
        seconds = _seconds(command, processes)
        setting: dict[str, str | int | float | bool] = {
            "command": shown,
            "processes": processes,
            "bare_interpreter_seconds": bare,
        }
        details = {"seconds": seconds}
        paths.append(record.write_benchmark(name, setting, seconds, details=details))
    return paths


def _seconds(command: list[str], processes: int) -> list[float]:
    return [_once(command) for _ in range(processes + 1)][1:]


def _once(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started
