"""The examples of docs/batch_inference.md run as they stand."""

import json
import re
from pathlib import Path

import pytest

from llmrec.inference.batch.request_files import read_requests

PAGE = Path(__file__).parents[3] / "docs" / "batch_inference.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.ray
def test_every_python_block_runs_after_the_ones_before_it(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    found = blocks("python")
    assert len(found) == 3
    for block in found:
        exec(compile(block, PAGE.name, "exec"), names)
    assert names["report"].answered == 100


def test_the_line_of_json_is_a_request(tmp_path):
    (line,) = blocks("json")
    (tmp_path / "asked.jsonl").write_text(line, encoding="utf-8")
    (request,) = read_requests(tmp_path / "asked.jsonl", "generate")
    assert request.logprobs == 20
    assert request.decoding.stop == ("\n",)
    assert json.loads(line)["decoding"]["max_tokens"] == request.decoding.max_tokens
