"""The pull towards earlier weights, against its formula."""

import pytest
import torch
from small_gated import gated, tokens
from torch import nn

from llmrec.adapters.proximal import Proximal
from llmrec.errors import ConfigError


def test_value_gradient_and_distance():
    model = gated()
    pull = Proximal(model, mu=0.3)
    assert pull.penalty().item() == 0
    trained = [p for p in model.parameters() if p.requires_grad]
    before = torch.cat([p.detach().flatten() for p in trained])
    torch.manual_seed(0)
    with torch.no_grad():
        for p in trained:
            p.add_(torch.randn_like(p))
    penalty = pull.penalty()
    penalty.backward()
    now = torch.cat([p.detach().flatten() for p in trained])
    gradient = torch.cat([p.grad.flatten() for p in trained])
    torch.testing.assert_close(penalty.detach(), 0.15 * (now - before).square().sum())
    torch.testing.assert_close(gradient, 0.3 * (now - before))
    assert pull.distance() == pytest.approx(float((now - before).norm()), rel=1e-5)
    pull.renew()
    assert pull.distance() == 0


def test_a_stronger_pull_moves_the_experts_less():
    moved = []
    for mu in (0.0, 1.0, 100.0):
        model = gated().train()
        pull = Proximal(model, mu)
        optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=5e-3)
        for step in range(10):
            torch.manual_seed(step)
            ids = tokens(seed=step)
            logits = model(input_ids=ids, gate_input=torch.randn(3, 6)).logits
            loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
            optimiser.zero_grad()
            (loss + pull.penalty()).backward()
            optimiser.step()
        moved.append(pull.distance())
    assert moved[0] > moved[1] > 2 * moved[2] > 0


def test_refusals():
    with pytest.raises(ConfigError, match="expected 0 or more"):
        Proximal(nn.Linear(1, 1), -1.0)
    with pytest.raises(ConfigError, match="no weight of the module is trainable"):
        Proximal(nn.Linear(1, 1).requires_grad_(False), 1.0)
