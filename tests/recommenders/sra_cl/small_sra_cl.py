"""Small histories, text vectors, encoders and steps for the tests of SRA-CL."""

import numpy as np
import polars as pl
import torch

from llmrec.data.histories import Histories
from llmrec.data.ragged import offsets_of
from llmrec.data.vocabulary import Vocabulary
from llmrec.recommenders.sasrec.config import SASRecConfig
from llmrec.recommenders.sasrec.encoder import PackedRows, SequenceEncoder
from llmrec.recommenders.sasrec.windows import SequenceWindows
from llmrec.recommenders.sra_cl import SRACL
from llmrec.recommenders.sra_cl.batches import ContrastWindows
from llmrec.recommenders.sra_cl.events import TrainingEvents
from llmrec.recommenders.sra_cl.objective import Step
from llmrec.retrieval.vectors import TextVectors
from llmrec.training.seeds import seed_everything

SMALL = {"dim": 8, "heads": 2, "blocks": 1, "feed_forward": 16, "max_length": 6}
N_ITEMS = 12


def histories_of(rows, n_items=N_ITEMS):
    """Lists of item codes as histories of users 0, 1, 2, ..."""
    users = pl.Series("user_id", range(len(rows)), dtype=pl.Int64)
    items = np.array([code for row in rows for code in row], dtype=np.int32)
    offsets = offsets_of([len(row) for row in rows])
    return Histories(users, items, offsets, Vocabulary(range(1, n_items + 1)))


def random_histories(lengths, seed=0, n_items=N_ITEMS):
    rng = np.random.default_rng(seed)
    return histories_of([rng.integers(1, n_items + 1, n).tolist() for n in lengths], n_items)


def random_vectors(train, dim=5, seed=1):
    values = np.random.default_rng(seed).normal(size=(len(train.vocabulary), dim))
    return TextVectors.from_array(values, train.vocabulary)


def encoder_of(n_items=N_ITEMS, **options):
    """An encoder with larger weights than at the start of a training, so that inputs matter."""
    torch.manual_seed(0)
    config = SASRecConfig(**{**SMALL, "dropout": 0.0, "init_std": 0.3, **options})
    return SequenceEncoder(config, n_items)


def encode_one(encoder, items):
    """``[len, d]`` states of one sequence in evaluation mode, alone in its batch."""
    was_training = encoder.training
    encoder.eval()
    with torch.no_grad():
        found = encoder(torch.tensor(items), PackedRows(np.array([len(items)])))
    encoder.train(was_training)
    return found


def prefix(train, row, max_length):
    """Item codes of the sequence that ends at event ``row``, at most ``max_length`` of them."""
    user = int(np.searchsorted(train.offsets, row, side="right")) - 1
    return train.items[max(train.offsets[user], row + 1 - max_length) : row + 1].tolist()


def step_of(train, encoder, objectives=(), rows=None, mask=True, n_anchors=10_000, seed=0):
    """A step over training rows, and what the objectives drew for it."""
    windows = SequenceWindows(train, encoder.config.max_length)
    source = ContrastWindows(windows, TrainingEvents.of(train), objectives, n_anchors)
    rows = np.arange(len(source)) if rows is None else np.asarray(rows)
    made = source.batch(rows, np.random.default_rng(seed))
    states = encoder(made.base.items, made.base.rows)
    alike = made.anchors.alike() if mask else None
    return Step(encoder, made.base, states, made.anchors, alike), made.drawn


def model_of(train, vectors=None, cls=SRACL, **options):
    """An unfitted model that has been given text vectors."""
    training = {"epochs": 3, "batch_size": 4, "learning_rate": 5e-3, **options.pop("training", {})}
    settings = {**SMALL, "neighbors": 3, "item_neighbors": 3, "clusters": 4, **options}
    model = cls(**settings, training=training)
    if cls is SRACL:
        model.use_vectors(random_vectors(train) if vectors is None else vectors)
    return model


def parts_of(model, train):
    """The module and the source of batches that the model's ``fit`` trains with."""
    seed_everything(model.config.training.seed)
    encoder = SequenceEncoder(model.config, len(train.vocabulary))
    return model._training_parts(encoder, train)


def without_seconds(log):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in log]
