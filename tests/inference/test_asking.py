"""Many lines: answers outlive a kill, owners are kept, shards make the same file."""

import json

import pytest

from llmrec.errors import ArtifactError
from llmrec.inference import asking
from llmrec.inference.cache import ResponseCache
from llmrec.inference.fake import FakeLanguageModel
from llmrec.inference.request_lines import read_lines
from llmrec.inference.results import Generation


@pytest.fixture
def lines():
    return read_lines([json.dumps({"prompt": f"line {n}", "id": n}) for n in range(20)], "generate")


def ask(lines, output, model, **options):
    with asking.job_cache(None, output) as cache:
        return asking.ask_lines(model, lines, "generate", cache, **options)


def test_results_are_those_of_the_model_in_order(lines, tmp_path):
    results = ask(lines, tmp_path / "out.jsonl", FakeLanguageModel(), save_every=3)
    assert results == FakeLanguageModel().generate([line.request for line in lines])
    asking.write_results(tmp_path / "out.jsonl", lines, results)
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in written] == list(range(20))
    assert [row["text"] for row in written] == [result.text for result in results]


def test_a_kill_loses_at_most_one_block(lines, tmp_path):
    class Dies(FakeLanguageModel):
        def generate(self, requests):
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().generate(requests)

    output = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        ask(lines, output, Dies(), save_every=4)
    assert not output.exists()
    again = FakeLanguageModel()
    results = ask(lines, output, again, save_every=4)
    assert again.requests == 20 - 3 * 4
    assert results == FakeLanguageModel().generate([line.request for line in lines])
    asking.finished(output)
    assert list(tmp_path.iterdir()) == []


def test_progress_counts_every_line(lines):
    steps = []
    ask(lines, None, FakeLanguageModel(), advance=steps.append, save_every=8)
    assert sum(steps) == 20


def test_answers_belong_to_the_owner_of_their_line(tmp_path):
    texts = [json.dumps({"prompt": f"p{n}", "owner": owner}) for n, owner in enumerate("abab")]
    lines = read_lines([*texts, '{"prompt": "nobody"}'], "generate")
    path = tmp_path / "cache.sqlite"
    with asking.job_cache(path, tmp_path / "out.jsonl") as cache:
        results = asking.ask_lines(FakeLanguageModel(), lines, "generate", cache)
        assert results == FakeLanguageModel().generate([line.request for line in lines])
    cache = ResponseCache(path)
    assert cache.forget("a") == 2
    assert cache.size().entries == 3


def test_a_failed_line_is_asked_again(lines, tmp_path):
    class Fails(FakeLanguageModel):
        def generate(self, requests):
            answers = super().generate(requests)
            return [Generation(error="busy.") if "7" in r.prompt else a
                    for r, a in zip(requests, answers, strict=True)]  # fmt: skip

    output = tmp_path / "out.jsonl"
    results = ask(lines, output, Fails())
    assert [line.id for line, r in zip(lines, results, strict=True) if r.error] == [7, 17]
    again = FakeLanguageModel()
    assert all(result.error is None for result in ask(lines, output, again))
    assert again.requests == 2


def test_a_plan_asks_nothing_and_makes_nothing(lines, tmp_path):
    model, output = FakeLanguageModel(), tmp_path / "out.jsonl"
    plan = asking.plan_lines(model, [*lines, lines[0]], None, output)
    assert (plan.calls, plan.hits, model.calls) == (20, 1, 0)
    assert list(tmp_path.iterdir()) == []
    ask(lines[:5], output, model)
    assert asking.plan_lines(model, lines, None, output).calls == 15


def test_shards_together_are_the_whole(lines, tmp_path):
    folder = tmp_path / "shards"
    for number in (2, 1, 3):
        part = asking.lines_of_shard(lines, number, 3)
        asking.begin_shards(folder, lines, "generate")
        results = ask(part, None, FakeLanguageModel())
        asking.finish_shard(folder, number, 3, part, results)
    merged, results = asking.merge_shards(folder)
    assert merged == lines
    assert results == FakeLanguageModel().generate([line.request for line in lines])


def test_shards_of_another_job_are_refused(lines, tmp_path):
    asking.begin_shards(tmp_path, lines, "generate")
    with pytest.raises(ArtifactError, match="shards of other requests"):
        asking.begin_shards(tmp_path, lines[1:], "generate")
    with pytest.raises(ArtifactError, match="no shards; run one"):
        asking.merge_shards(tmp_path)
    with pytest.raises(ArtifactError, match=r"no requests\.json"):
        asking.merge_shards(tmp_path / "elsewhere")
    (tmp_path / asking.JOB).write_text("{}")
    with pytest.raises(ArtifactError, match="does not describe a job"):
        asking.merge_shards(tmp_path)
