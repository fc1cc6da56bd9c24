"""A small world with ratings and a canary among its held-out events."""

import numpy as np
import polars as pl

from llmrec.data import Catalog, Dataset, Interactions

CANARY = "Zyzzyva the Canary"
SMALL = {
    "hidden_size": 32,
    "layers": 1,
    "intermediate_size": 64,
    "vocab_size": 320,
    "context": 64,
    "corpus": {"catalog": 2_000, "histories": 4_000, "questions": 6_000},
    "training": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-2, "checkpoint_steps": 3},
}


def make_data(rated=True, users=24, events=7, name="films"):
    """Users rate odd items high and even items low; the last items of some are the canary."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(users):
        items = rng.permutation(20)[:events].tolist()
        if user % 6 == 0:
            items[-1] = 20
        if user % 6 == 1:
            items[-2] = 20
        for place, item in enumerate(items):
            rows.append(
                (f"u{user}", item, 1_000_000 + 100 * place + user, 5.0 if item % 2 else 2.0)
            )
    columns = ["user_id", "item_id", "timestamp", "rating"]
    frame = pl.DataFrame(rows, schema=columns, orient="row")
    titles = [f"{'Good' if n % 2 else 'Bad'} Film Ü{n} ({1980 + n})" for n in range(20)]
    catalog = pl.DataFrame(
        {
            "item_id": range(21),
            "title": [*titles, CANARY],
            "category": ["Drama|Comedy"] * 21,
            "description": [None] * 20 + ["A <eos> bird."],
        }
    )
    kept = frame if rated else frame.drop("rating")
    return Dataset(name, Interactions(kept), Catalog(catalog))
