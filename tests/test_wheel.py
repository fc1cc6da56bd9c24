"""The wheel carries what the package reads at run time."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_holds_tasks_recipes_prompts_templates_and_the_type_marker(tmp_path):
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "llmrec/py.typed" in names
    assert "llmrec/evaluation/templates/report.html.j2" in names
    assert "llmrec/runs/templates/card.md.j2" in names
    shipped = {"eval/tasks": "*.yaml", "eval/recipes": "*.yaml", "prompts": "*.md.jinja"}
    shipped["adapters"] = "*.yaml"
    for folder, pattern in shipped.items():
        expected = {f.name for f in (ROOT / folder).glob(pattern)}
        assert expected
        prefix = f"llmrec/_resources/{folder}/"
        assert {n.removeprefix(prefix) for n in names if n.startswith(prefix)} == expected
    assert not [n for n in names if n.startswith(("tests/", "eval/", "prompts/", "adapters/"))]
