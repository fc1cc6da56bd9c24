"""Layers that only lists have: they begin as copies, and next items know nothing of them."""

import numpy as np
import pytest
import torch
from alignment_parts import TRIE, policy, some_users
from test_onerec_generator import make_generator, of_lists

from llmrec.data import leave_one_out
from llmrec.data.simulator import simulate
from llmrec.errors import ConfigError
from llmrec.recommenders.onerec import OneRec
from llmrec.recommenders.onerec.alignment.rollouts import written_lists
from llmrec.recommenders.onerec.generator.lists import list_log_probabilities
from llmrec.recommenders.onerec.generator.writer import GeneratorWriter
from llmrec.recommenders.onerec.serving import candidate_scores

DATA = simulate("simulate:tiny@1").dataset
SPLIT = leave_one_out(DATA)
USERS = some_users(9)
HISTORIES, LISTS = [[1, 2, 3], [4], [5, 6]], [[7, 8, 1], [2, 3, 9], [4, 1, 2]]


def moved():
    """A generator whose lists are written otherwise than its next items."""
    generator = policy(list_layers=True)
    with torch.no_grad():
        for value in generator.list_layers.parameters():
            value.add_(torch.randn(value.shape, generator=torch.Generator().manual_seed(7)) * 0.3)
    return generator


def test_they_begin_as_copies_of_the_others():
    plain, parted = policy(), policy(list_layers=True)
    given = of_lists(HISTORIES), of_lists(LISTS)
    expected = list_log_probabilities(plain, *given)
    torch.testing.assert_close(list_log_probabilities(parted, *given), expected)
    other = moved()
    assert not torch.allclose(list_log_probabilities(other, *given), expected, atol=1e-2)
    other.part_lists()
    torch.testing.assert_close(list_log_probabilities(other, *given), expected)


def test_next_items_do_not_change_with_them():
    plain, parted = policy(), moved()
    codes = np.tile(np.arange(1, 7, dtype=np.int32), (len(USERS), 1))
    expected = candidate_scores(GeneratorWriter(plain), USERS, codes)
    np.testing.assert_array_equal(candidate_scores(GeneratorWriter(parted), USERS, codes), expected)


def test_the_search_writes_with_them():
    parted = moved()
    found = written_lists(GeneratorWriter(parted), TRIE, USERS, 4, 3)
    for user in range(len(USERS)):
        lists = torch.from_numpy(found.items[user]).long()
        history = USERS[user][-GeneratorWriter(parted).newest(3) :].tolist()
        expected = list_log_probabilities(parted, of_lists([history] * 4), lists)
        np.testing.assert_allclose(found.log_probabilities[user], expected.detach(), atol=1e-4)


def test_preferences_change_them_and_not_the_layers_of_next_items():
    parted = policy(list_layers=True)
    list_log_probabilities(parted, of_lists(HISTORIES), of_lists(LISTS)).sum().backward()
    assert all(value.grad is not None for value in parted.list_layers.parameters())
    assert all(value.grad is None for value in parted.decoder.parameters())
    assert all(value.grad is None for value in parted.writer.parameters())


def trained(**options):
    generator = {"form": "item_decoder", "dim": 16, "heads": 2, "history": 8, "session": 3}
    model = OneRec(
        tokenizer={"codes": 8}, text_encoder="tfidf:16", beam=10,
        generator=generator | options, training={"epochs": 1, "batch_size": 64},
    )  # fmt: skip
    return model.use_catalog(DATA.catalog).fit(SPLIT.train_histories())


def test_a_model_gets_them_before_or_after_its_training(tmp_path):
    users = SPLIT.cases("test").histories.take(np.arange(15))
    plain, expected = trained(), trained(list_layers=True)
    before = plain.recommend_session(users)
    plain.part_lists().save_pretrained(tmp_path / "model")
    loaded = OneRec.from_pretrained(tmp_path / "model")
    assert loaded.config.generator == expected.config.generator
    own, others = (model.generator.state_dict() for model in (loaded, expected))
    assert own.keys() == others.keys()
    assert all(torch.equal(own[name], others[name]) for name in own)
    assert loaded.recommend_session(users).equals(before)
    assert loaded.part_lists() is loaded


def test_only_one_form_has_them():
    with pytest.raises(ValueError, match="list_layers is for form=item_decoder"):
        make_generator(form="decoder", list_layers=True)
    with pytest.raises(ConfigError, match="form=item_decoder only, not with decoder"):
        trained(form="decoder").part_lists()
