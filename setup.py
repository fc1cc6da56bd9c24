"""Ships the tasks and recipes of ``eval/``, ``prompts/`` and ``adapters/`` in the wheel.

Everything else about the package is in ``pyproject.toml``; only the mapping of folders outside
``llmrec/`` to package data needs code.
"""

from setuptools import find_packages, setup

RESOURCES = ("eval/tasks", "eval/recipes", "prompts", "adapters")
mapped = {f"llmrec._resources.{folder.replace('/', '.')}": folder for folder in RESOURCES}

setup(
    packages=[*find_packages(include=["llmrec", "llmrec.*"]), *mapped],
    package_dir=mapped,
)
