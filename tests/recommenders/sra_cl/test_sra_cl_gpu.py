"""On a GPU: a step never waits for the device, and gives what a CPU gives."""

import copy

import numpy as np
import pytest
import torch
from small_sra_cl import model_of, parts_of, random_histories

from llmrec.data.splits import Cases
from llmrec.evaluation.monitoring import ranking_metrics

pytestmark = pytest.mark.gpu

TRAIN = random_histories([7, 3, 12, 5, 2, 9, 4, 6, 1, 8], seed=4)
VALID = Cases(TRAIN, (TRAIN.items[TRAIN.offsets[:-1]]).copy(), np.arange(len(TRAIN) + 1), "valid")
EVERYTHING = {"coarse_intent": 0.2, "fine_intent": 0.2, "warmup_epochs": 0, "dropout": 0.0}


def made(**options):
    module, source = parts_of(
        model_of(TRAIN, **{**EVERYTHING, "synthesis_dropout": 0.0, **options}), TRAIN
    )
    return module, source.batch(np.arange(6), np.random.default_rng(0))


@pytest.mark.parametrize("bank", ["write_through", "momentum", "none"])
def test_a_step_does_not_wait_for_the_device(bank):
    module, batch = made(neighbor_bank=bank, encode_again=True, views=2)
    device = torch.device("cuda")
    module.to(device).train()
    module.start_epoch(0)
    batch = batch.to(device)
    module(batch).backward()  # libraries load
    torch.cuda.set_sync_debug_mode("error")
    try:
        module(batch).backward()
        with pytest.raises(RuntimeError, match="synchroniz"):  # the guard is awake
            batch.base.items.sum().item()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("bank", ["write_through", "none"])
def test_loss_and_gradients_are_those_of_a_cpu(bank):
    module, batch = made(neighbor_bank=bank)
    module.start_epoch(0)
    other = copy.deepcopy(module).cuda()
    on_gpu = made(neighbor_bank=bank)[1].to(torch.device("cuda"))
    left, right = module(batch), other(on_gpu)
    torch.testing.assert_close(right.cpu(), left, rtol=1e-4, atol=1e-4)
    left.backward()
    right.backward()
    for (name, ours), theirs in zip(module.named_parameters(), other.parameters(), strict=True):
        if ours.grad is not None:
            torch.testing.assert_close(
                theirs.grad.cpu(),
                ours.grad,
                rtol=1e-3,
                atol=1e-4,
                msg=lambda m, n=name: f"{n}: {m}",
            )


@pytest.mark.parametrize("bank", ["write_through", "momentum", "none"])
def test_a_training_validates_as_a_cpu_would(bank):
    training = {"epochs": 3, "average": 0.9}
    model = model_of(TRAIN, neighbor_bank=bank, fine_intent=0.1, training=training)
    model.fit(TRAIN, VALID)
    best = max(row["valid"]["ndcg@10"] for row in model.log if "valid" in row)
    found = ranking_metrics(model.score_catalog, VALID, ["ndcg@10"])
    assert found["ndcg@10"] == pytest.approx(best, abs=1e-3)
