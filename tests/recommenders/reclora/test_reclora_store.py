"""From a fitted RecLoRA to a store: whose gates are drawn to a mean, and how often."""

import numpy as np
import pytest
from reclora_worlds import fitted_on, liking_world, make_model

from llmrec.adapters.refresh import refresh
from llmrec.errors import ConfigError

SPLIT = liking_world()


@pytest.fixture(scope="module")
def model(base_folder):
    return fitted_on(SPLIT, make_model(base_folder))


def test_gates_of_a_new_store_are_drawn_to_the_mean_as_a_refresh_draws_them(model, tmp_path):
    """Everybody has ten events, so that with prior_events=10 a user's own gate counts half."""
    store = model.make_store(tmp_path / "store", gate_dtype="float32", prior_events=10)
    known = model.known_histories
    assert set(known.lengths) == {10}
    stored = np.stack([store.gate(user).gate for user in known.user_ids])
    np.testing.assert_allclose(stored, 0.5 * model.gates(known) + 0.5 * 0.5, atol=1e-6)
    # the mean is now that of users, which is not the even mixture that there was at first
    mean = store.priors.mean()
    refresh(store, model, known)
    later = np.stack([store.gate(user).gate for user in known.user_ids])
    np.testing.assert_allclose(later, 0.5 * model.gates(known) + 0.5 * mean, atol=1e-6)


def test_gates_are_not_drawn_to_a_mean_twice(model, tmp_path, monkeypatch):
    shrinking = model.config.model_copy(update={"shrink": 3.0})
    monkeypatch.setattr(model, "config", shrinking)
    with pytest.raises(ConfigError, match=r"shrink=3 .* prior_events=10 would do it again"):
        model.make_store(tmp_path / "store", prior_events=10)
    assert not (tmp_path / "store").exists()
