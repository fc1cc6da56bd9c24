"""What the benchmarks of adapters count, and that small editions of them do equal work."""

import json

import pytest
import torch
from benchmark_scripts import benchmark_scripts
from torch.utils.flop_counter import FlopCounterMode

from llmrec.errors import ArtifactError

NAMES = ("adapter_store", "gated_lora", "gated_lora_gpu", "gated_lora_jobs")


@pytest.fixture(scope="module")
def scripts():
    with benchmark_scripts(*NAMES) as found:
        yield found


def test_counted_operations_are_those_of_the_flop_counter(scripts):
    jobs = scripts["gated_lora_jobs"]
    model = jobs.gated(jobs.TINY, "cpu")
    users = jobs.users_of(model, jobs.TINY, 3, 8, "cpu")
    plain = jobs.base(jobs.TINY, "cpu", torch.float32)
    counts = []
    for job in (jobs.un_adapted(plain, users), jobs.fused(model, users, "fused")):
        with FlopCounterMode(display=False) as counter:
            job()
        counts.append(counter.get_total_flops())
    stacked = jobs.EXPERTS * jobs.RANK
    expected = jobs.low_rank_share(jobs.TINY, stacked) * 2 * jobs.TINY.block_weights * 3 * 8
    assert counts[1] - counts[0] == pytest.approx(expected)


def test_every_way_of_serving_gives_the_same_answers(scripts):
    jobs = scripts["gated_lora_jobs"]
    model = jobs.gated(jobs.TINY, "cpu")
    users = jobs.users_of(model, jobs.TINY, 4, 8, "cpu")
    again = jobs.users_of(model, jobs.TINY, 4, 5, "cpu")
    torch.testing.assert_close(users.weights, again.weights)  # the same users, other prompts
    theirs = jobs.peft_model(model, jobs.TINY, users)
    own = jobs.fused(model, users)()
    for job in (
        jobs.fused(model, users, "fused"),
        jobs.one_user_at_a_time(model, users),
        jobs.peft_mixed(theirs, users),
        jobs.peft_one_by_one(theirs, users),
    ):
        torch.testing.assert_close(job(), own, rtol=0, atol=1e-4)
    with model.using(None):
        bare = model.model(input_ids=users.ids, logits_to_keep=1).logits[:, -1].log_softmax(-1)
    assert (bare - own).abs().max() > 0.01


def test_a_small_store_is_measured(scripts, tmp_path):
    written = scripts["adapter_store"].measure(300, trial=True, folder=tmp_path)
    found = {path.stem: json.loads(path.read_text()) for path in written}
    lookup = found["adapter_store_lookup"]["setting"]
    assert lookup["users"] == 300
    assert 2048 < lookup["bytes_per_user"] < 10_000
    details = json.loads(
        (tmp_path / "benchmarks" / "details" / "adapter_store_materialise.json").read_text()
    )
    assert 0 < details["largest_difference"]["float64"] <= 1e-9
    assert 0 < details["largest_difference"]["float32"] <= 1e-4


def test_figures_of_an_accelerator_become_benchmarks(scripts, tmp_path):
    gpu = scripts["gated_lora_gpu"]
    seconds = {"ours": [1.0], "ours one by one": [20.0], "peft mixed batch": [3.0]}
    measured = {
        "device": "card", "torch": "2", "peft": "0", "weights": 5, "width": 2, "layers": 1,
        "commit": "uncommitted", "dtype": "bfloat16", "tiny": False, "low_rank_share": 0.1,
        "tokens": {"32": {"seconds": seconds, "largest_difference": {"peft mixed batch": 1.0}}},
    }  # fmt: skip
    path = tmp_path / "measured.json"
    path.write_text(json.dumps(measured))
    with pytest.raises(ArtifactError, match="give --commit"):
        gpu.convert(path, None, tmp_path)
    (written,) = gpu.convert(path, "abc", tmp_path)  # who answered otherwise has no time
    found = json.loads(written.read_text())
    assert (found["ratio"]["median"], found["machine"], found["commit"]) == (20.0, "card", "abc")
    path.write_text(json.dumps({**measured, "tiny": True}))
    with pytest.raises(ArtifactError, match="is not what this script measures"):
        gpu.convert(path, "abc", tmp_path)
