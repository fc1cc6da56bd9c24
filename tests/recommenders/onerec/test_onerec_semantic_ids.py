"""Semantic IDs: fitted on training items, saved with what they depend on, extended, refused."""

import dataclasses
import json

import numpy as np
import pytest
from small_tokenizer import N_ITEMS, ORIGIN, UNSEEN, catalogue, training, vectors_of

from llmrec.data.vocabulary import Vocabulary
from llmrec.errors import ArtifactError, ConfigError, DataError, TrainingError
from llmrec.recommenders.onerec.tokenizer import TokenizerConfig
from llmrec.recommenders.onerec.tokenizer.collisions import count_collisions
from llmrec.recommenders.onerec.tokenizer.fitting import fit_semantic_ids, require_use
from llmrec.recommenders.onerec.tokenizer.quality import level_report, quality_report
from llmrec.recommenders.onerec.tokenizer.report import write_semantic_id_report
from llmrec.recommenders.onerec.tokenizer.semantic_ids import MANIFEST, SemanticIds
from llmrec.retrieval.vectors import TextVectors

SMALL = {"levels": 2, "codes": 12, "rounds": 5}


def fitted(vocabulary=None, **settings):
    vocabulary = vocabulary or catalogue()
    config = TokenizerConfig(**{**SMALL, **settings})
    return fit_semantic_ids(vectors_of(vocabulary), training(vocabulary), config)


@pytest.fixture(scope="module", params=["reassign", "extra_digit", "allow"])
def ids(request):
    return fitted(codes=16, collisions=request.param)


def test_every_item_has_codes_within_their_sizes(ids):
    levels = 3 if ids.config.collisions == "extra_digit" else 2
    assert ids.sizes == (16,) * levels
    assert ids.codes.shape == (N_ITEMS, levels)
    assert (ids.codes >= 0).all()
    assert (ids.codes < np.array(ids.sizes)).all()
    assert ids.fitted.tolist() == [True] * (N_ITEMS - UNSEEN) + [False] * UNSEEN
    assert ids.details["collisions_before"] > 0
    shared = count_collisions(ids.codes)
    assert shared == ids.details["collisions_after_all_items"]
    assert (shared > 0) == (ids.config.collisions == "allow")


def test_items_unseen_in_training_do_not_shape_the_codes(ids):
    vocabulary = catalogue()
    vectors = vectors_of(vocabulary)
    values = vectors.values.copy()
    values[-UNSEEN:] = -values[-UNSEEN:]
    others = dataclasses.replace(vectors, values=values)
    again = fit_semantic_ids(others, training(vocabulary), ids.config)
    assert again.codes[ids.fitted].tolist() == ids.codes[ids.fitted].tolist()
    assert again.space == ids.space
    assert again.fingerprint != ids.fingerprint
    assert ids.seen == (ORIGIN,)


def test_of_items_with_one_code_the_most_popular_keeps_it():
    values = np.repeat(vectors_of(catalogue(25)).values, 4, axis=0)
    vectors = TextVectors.from_array(values, catalogue(), "x")
    config = TokenizerConfig(**{**SMALL, "codes": 16, "balance": "none", "collisions": "allow"})
    base = fit_semantic_ids(vectors, training(catalogue()), config)
    moved = config.model_copy(update={"collisions": "reassign"})
    resolved = fit_semantic_ids(vectors, training(catalogue()), moved)
    own = np.flatnonzero(base.fitted)
    for row in np.unique(base.codes[own], axis=0):
        group = own[(base.codes[own] == row).all(1)]
        kept = group[(resolved.codes[group] == row).all(1)]
        assert base.popularity[kept].max() == base.popularity[group].max()
    trie = base.trie
    for leaf in range(trie.n_leaves):
        start, stop = trie.item_offsets[leaf : leaf + 2].tolist()
        counts = base.popularity[trie.items[start:stop].numpy() - 1]
        assert (np.diff(counts) <= 0).all()


def test_saved_ids_come_back_the_same(ids, tmp_path):
    ids.save(tmp_path / "ids", titles=ids.vocabulary.ids)
    loaded = SemanticIds.load(tmp_path / "ids")
    assert loaded.fingerprint == ids.fingerprint
    assert loaded.codes.tolist() == ids.codes.tolist()
    assert (loaded.space, loaded.config, loaded.seen) == (ids.space, ids.config, ids.seen)
    assert loaded.vocabulary.fingerprint == ids.vocabulary.fingerprint
    vectors = vectors_of(ids.vocabulary)
    assert loaded.codebooks.encode(vectors.values).tolist() == (
        ids.codebooks.encode(vectors.values).tolist()
    )


def test_new_items_get_codes_and_known_ones_keep_theirs(ids):
    bigger = catalogue(140)
    kept = [name for name in bigger.ids if name not in ("item-003", "item-050")]
    from llmrec.data.vocabulary import Vocabulary

    vocabulary = Vocabulary(kept[::-1], "item")
    more = ids.with_items(vocabulary, vectors_of(vocabulary))
    old = {name: row for name, row in zip(ids.vocabulary.ids, ids.codes.tolist(), strict=True)}
    new = dict(zip(vocabulary.ids, more.codes.tolist(), strict=True))
    assert all(new[name] == old[name] for name in old.keys() & new.keys())
    assert len(more) == 138
    assert (more.space, more.details["added_items"]) == (ids.space, 40)
    assert more.fingerprint != ids.fingerprint
    if ids.config.collisions != "allow":
        assert count_collisions(more.codes) == 0
    else:
        fresh = vectors_of(vocabulary).values[:5]
        assert more.codes[:5].tolist() == ids.codebooks.encode(fresh).tolist()


def test_codes_of_new_items_are_the_nearest_centroids():
    ids = fitted(collisions="allow")
    values = vectors_of(ids.vocabulary).values[-UNSEEN:].astype(np.float64)
    for row, value in enumerate(values):
        residual, expected = value, []
        for table in ids.codebooks.centroids:
            best = int(((residual - table) ** 2).sum(1).argmin())
            expected.append(best)
            residual = residual - table[best]
        assert ids.codes[N_ITEMS - UNSEEN + row].tolist() == expected


def test_what_does_not_fit_is_refused_by_name(ids):
    other = catalogue(99)
    with pytest.raises(ArtifactError, match="of another catalogue"):
        ids.require(other)
    with pytest.raises(ArtifactError, match="the model was trained on abc"):
        ids.require(space="abc")
    ids.require(ids.vocabulary, ids.space)
    with pytest.raises(DataError, match="fitted on vectors of encoder toy-encoder, these come"):
        ids.with_items(other, vectors_of(other, encoder="another"))
    with pytest.raises(DataError, match="belong to another catalogue"):
        ids.with_items(other, vectors_of(catalogue(98)))
    with pytest.raises(DataError, match="6 are expected"):
        ids.with_items(other, vectors_of(other, d=7))
    with pytest.raises(DataError, match="not the vectors that the semantic IDs were made from"):
        quality_report(ids, vectors_of(ids.vocabulary, seed=1))


def test_changed_files_are_refused(ids, tmp_path):
    ids.save(tmp_path / "ids")
    path = tmp_path / "ids" / MANIFEST
    facts = json.loads(path.read_text())
    for name, value, message in (
        ("schema", 2, "version 2"),
        ("kind", "tables", "'tables'"),
        ("space", "0", "not of one set"),
    ):
        path.write_text(json.dumps({**facts, name: value}))
        with pytest.raises(ArtifactError, match=message):
            SemanticIds.load(tmp_path / "ids")
    path.write_text(json.dumps(facts))
    (tmp_path / "ids" / "items.parquet").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"items\.parquet does not match the hash"):
        SemanticIds.load(tmp_path / "ids")
    with pytest.raises(ArtifactError, match=f"has no {MANIFEST}"):
        SemanticIds.load(tmp_path)


def test_items_without_text_are_named_or_encoded_when_asked():
    vocabulary = catalogue()
    values = vectors_of(vocabulary).values.copy()
    values[[4, 7]] = 0
    vectors = TextVectors.from_array(values, vocabulary, "x")
    with pytest.raises(DataError, match=r"2 items have no text.*'item-004', 'item-007'"):
        fit_semantic_ids(vectors, training(vocabulary), TokenizerConfig(**SMALL))
    config = TokenizerConfig(**SMALL, without_text="encode", collisions="extra_digit")
    assert count_collisions(fit_semantic_ids(vectors, training(vocabulary), config).codes) == 0


def test_an_rqvae_uses_its_codes_and_encodes_as_it_was_trained():
    training_settings = {"epochs": 12, "batch_size": 32, "learning_rate": 3e-3}
    settings = {"hidden": (16,), "latent": 4, "training": training_settings}
    ids = fitted(method="rqvae", rqvae=settings)
    log = ids.details["training_log"]
    assert log[-1]["loss"] < 0.9 * log[0]["loss"]
    assert min(log[-1]["used_1"], log[-1]["used_2"]) > 0.7
    assert ids.codebooks.dim == 6
    assert len(ids.codebooks.encoder) == 2
    again = fitted(method="rqvae", rqvae=settings)
    assert again.space == ids.space
    bigger = catalogue(110)
    assert len(ids.with_items(bigger, vectors_of(bigger))) == 110


def test_the_rqvae_loss_written_out():
    import torch

    from llmrec.recommenders.onerec.tokenizer.rqvae import RqVae, VectorBatch

    torch.manual_seed(0)
    values = torch.randn(5, 3)
    settings = {"hidden": (4,), "latent": 2, "commitment": 0.5}
    module = RqVae(values, TokenizerConfig(levels=2, codes=3, rqvae=settings))
    torch.nn.init.normal_(module.codebooks)
    expected = 0.0
    for value in values:
        latent = residual = module.encoder(value)
        total = torch.zeros(2)
        for table in module.codebooks:
            vector = min(table, key=lambda row: ((residual - row) ** 2).sum().item())
            expected += 1.5 * ((residual - vector) ** 2).sum().item()
            residual, total = residual - vector, total + vector
        del latent
        expected += ((module.decoder(total) - value) ** 2).sum().item()
    loss = module(VectorBatch(values))
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert module.encoder[0].weight.grad.abs().sum() > 0
    assert int(module.chosen.sum()) == 10


def test_a_code_that_nobody_chose_is_revived():
    import torch

    from llmrec.recommenders.onerec.tokenizer.rqvae import RqVae, VectorBatch

    torch.manual_seed(0)
    values = torch.randn(30, 3)
    module = RqVae(values, TokenizerConfig(levels=1, codes=4, rqvae={"hidden": (), "latent": 3}))
    module.start_epoch(0)
    module.codebooks.data[0, 2] = 1e6
    module(VectorBatch(values))
    assert module.end_epoch() == {"used_1": 0.75}
    latents = module.encoder(values)
    assert (latents - module.codebooks[0, 2]).abs().sum(1).min() < 1e-6


@pytest.mark.parametrize("balance", ["capacity", "sequential", "sequential_shuffled"])
def test_balance_does_not_hide_vectors_that_are_all_alike(balance):
    vocabulary = catalogue()
    alike = TextVectors.from_array(np.ones((N_ITEMS, 3)), vocabulary, "alike")
    config = TokenizerConfig(**SMALL, balance=balance)
    with pytest.raises(TrainingError, match="collapsed: level 1 uses 1 of 12 codes for 94 items"):
        fit_semantic_ids(alike, training(vocabulary), config)


def test_a_level_that_leaves_nothing_over_is_no_collapse():
    vocabulary = catalogue(12)
    found = fit_semantic_ids(
        vectors_of(vocabulary), training(vocabulary, unseen=0), TokenizerConfig(**SMALL)
    )
    assert np.unique(found.codes[:, 0]).size == 12  # every item is its own centroid


def test_collapse_fails_loudly():
    codes = np.zeros((50, 2), dtype=np.int32)
    with pytest.raises(TrainingError, match="collapsed: level 1 uses 1 of 8 codes for 50 items"):
        require_use(codes, (8, 8), 0.0)
    codes[:, 0] = np.arange(50) % 8
    codes[:25, 1] = 1
    with pytest.raises(TrainingError, match="level 2 uses 2 of 64 codes"):
        require_use(codes, (8, 64), 0.1)


def test_figures_of_a_level_written_out():
    figures = level_report(np.array([0, 0, 0, 2], dtype=np.int32), 4)
    assert (figures["used"], figures["utilisation"], figures["smallest"]) == (2, 0.5, 0)
    assert figures["entropy_bits"] == pytest.approx(0.811278, abs=1e-6)
    assert (figures["largest"], figures["imbalance"]) == (3, 3.0)
    assert figures["loads"] == [3, 1, 0, 0]


def test_quality_by_brute_force_and_its_page(ids, tmp_path):
    vectors = vectors_of(ids.vocabulary)
    found = quality_report(ids, vectors)
    cosine = vectors.values @ vectors.values.T
    np.fill_diagonal(cosine, -2)
    near = np.argsort(-cosine, axis=1, kind="stable")[:, :10]
    for depth, figures in enumerate(found["neighbors"], 1):
        own = ids.codes[:, None, :depth]
        same = (ids.codes[near][..., :depth] == own).all(-1)
        assert figures["share"] == pytest.approx(same.mean(), abs=5e-3)
        pairs = [(ids.codes[:, :depth] == row).all(1).sum() - 1 for row in ids.codes[:, :depth]]
        assert figures["by_chance"] == pytest.approx(np.sum(pairs) / (N_ITEMS * (N_ITEMS - 1)))
    assert found["neighbors"][0]["share"] > 3 * found["neighbors"][0]["by_chance"]
    left = vectors.values[ids.fitted].copy()
    for level, table in enumerate(ids.codebooks.centroids):
        left -= table[ids.codes[ids.fitted, level]]
        assert found["reconstruction"][level] == pytest.approx(
            (left**2).sum() / (vectors.values[ids.fitted] ** 2).sum(), rel=1e-4
        )
    facts = {"data set": "<b>toy</b>"}
    page = write_semantic_id_report(found, tmp_path / "r.html", title="<i>IDs</i>", facts=facts)
    text = page.read_text()
    assert text.count("<svg") == 3
    assert "&lt;b&gt;toy" in text
    assert "<script" not in text
    assert "<b>toy" not in text


def test_ids_without_codebooks_cannot_grow(tmp_path):
    from llmrec.recommenders.onerec.tokenizer.letter import read_letter_ids

    vocabulary = catalogue(3)
    path = tmp_path / "ids.csv"
    rows = ["item-002,<a_1> <b_2>", "item-000,<a_0> <b_3>", "item-001,<a_1> <b_2>"]
    path.write_text("\n".join(["item_id,codes", *rows]))
    ids = read_letter_ids(path, vocabulary, codes=4)
    assert ids.codes.tolist() == [[0, 3], [1, 2], [1, 2]]
    assert ids.details["collisions_after"] == 2
    ids.save(tmp_path / "saved")
    assert SemanticIds.load(tmp_path / "saved").fingerprint == ids.fingerprint
    with pytest.raises(ConfigError, match="read without codebooks"):
        ids.with_items(vocabulary, vectors_of(vocabulary))
    assert quality_report(ids, vectors_of(vocabulary))["reconstruction"] is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["item-000,<a_0> <c_3>"], "line 2, column codes: '<a_0> <c_3>' is not a semantic ID"),
        (["item-000,<a_4>"], "with codes below 4"),
        (["item-000,foo<a_0>bar<b_1>"], "'foo<a_0>bar<b_1>' is not a semantic ID"),
        (["item-000,nothing"], "'nothing' is not a semantic ID"),
        (["item-000,<a_1>", "item-001,<a_1> <b_1>"], "line 3, column codes: 2 codes, the lines"),
        (["item-001,<a_1>"], "no semantic ID for 1 items: 'item-000'"),
    ],
)
def test_a_broken_table_of_ids_is_named_by_line(tmp_path, rows, message):
    from llmrec.recommenders.onerec.tokenizer.letter import read_letter_ids

    path = tmp_path / "ids.csv"
    path.write_text("\n".join(["item_id,codes", *rows]))
    with pytest.raises(DataError, match=message):
        read_letter_ids(path, catalogue(len(rows)), codes=4)


@pytest.mark.parametrize(
    "content", [None, b"", b"item_id,codes\nx,<a_1>\n", b"item_id,codes\n1,\xff\xfe\n"]
)
def test_a_file_that_is_no_table_of_ids_is_named(tmp_path, content):
    from llmrec.recommenders.onerec.tokenizer.letter import read_letter_ids

    path = tmp_path / "ids.csv"
    if content is not None:
        path.write_bytes(content)
    numbers = Vocabulary(range(1, 4), "item")
    sentence = r"ids\.csv cannot be read as a CSV table of item_id \(Int64\) and codes: .*folder\.$"
    with pytest.raises(DataError, match=sentence):
        read_letter_ids(path, numbers)


@pytest.mark.real_data
def test_the_published_ids_of_beauty():
    from pathlib import Path

    from llmrec.data.named import find_dataset, load_dataset
    from llmrec.recommenders.onerec.tokenizer.letter import read_letter_ids

    folder = find_dataset("amazon-beauty")
    if folder is None:
        pytest.skip("amazon-beauty is not here")
    vocabulary = load_dataset("amazon-beauty").catalog.vocabulary
    ids = read_letter_ids(Path(folder) / "letter_semantic_ids.csv.gz", vocabulary)
    assert ids.sizes == (256,) * 4
    assert ids.trie.n_leaves == 12_088
    assert np.unique(ids.codes[:, 0]).size == 197
    row = vocabulary.encode(["B004756YJA"])[0] - 1
    assert ids.codes[row].tolist() == [183, 70, 232, 6]
