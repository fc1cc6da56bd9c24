"""What docs/vllm.md shows runs as it stands."""

import re
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.vllm

PAGE = Path(__file__).parents[2] / "docs" / "vllm.md"


@pytest.fixture
def blocks(tmp_path, monkeypatch, base, adapters):
    shutil.copytree(base, tmp_path / "models" / "base")
    shutil.copytree(adapters["alice@1"], tmp_path / "adapters" / "alice")
    monkeypatch.chdir(tmp_path)
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_engine(blocks):
    names = {"__name__": "__main__"}
    exec(compile(blocks[0], str(PAGE), "exec"), names)
    assert [answer.error for answer in names["answers"]] == [None, None]
    assert names["answers"][0].signature.k == 20
    assert len(names["scores"][0].texts) == 2


def test_the_client(blocks, address):
    shown = (
        blocks[1].replace("http://127.0.0.1:8000/v1", address).replace('"models/base"', '"base"')
    )
    assert shown.count(address) == 1
    names = {}
    exec(compile(shown, str(PAGE), "exec"), names)
    assert names["answers"][0].error is None
    assert names["answers"][0].signature.k == 20
    assert names["scores"][0].error is None
