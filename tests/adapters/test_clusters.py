"""Users served by centroids, against distances computed one by one."""

import numpy as np
import pytest
from small_store import draw

from llmrec.adapters.clusters import Clusters, fit_centroids, nearest_centroids
from llmrec.adapters.database import Database
from llmrec.adapters.gate_format import GateFormat
from llmrec.adapters.gate_table import GateTable
from llmrec.errors import ConfigError, DataError

SHAPE = (2, 3)


@pytest.fixture
def made(tmp_path):
    database = Database(tmp_path / "gates.sqlite")
    form = GateFormat(SHAPE, "float32")
    return GateTable(database, form), Clusters(database, form)


def blobs(each=40):
    """Three kinds of users, and which user is of which."""
    rng = np.random.default_rng(0)
    centres = np.eye(3, dtype=np.float32)[:, None].repeat(2, 1)
    kind = np.arange(3 * each) % 3
    return centres[kind] + rng.normal(0, 0.02, (3 * each, *SHAPE)).astype(np.float32), kind


def test_everyone_joins_the_nearest_centroid(made):
    table, clusters = made
    gates, kind = blobs()
    users = [f"u{n}" for n in range(len(gates))]
    table.put(users, gates, "gate")
    clusters.make(3)
    centroids = clusters.all()
    assert centroids.shape == (3, *SHAPE)
    numbers = np.array([table.get(user).centroid for user in users])
    distances = [[np.square(gate - each).sum() for each in centroids] for gate in gates]
    np.testing.assert_array_equal(numbers, np.argmin(distances, axis=1))
    for group in range(3):
        assert len(set(numbers[kind == group])) == 1
        own = gates[kind == group].mean(0)
        np.testing.assert_allclose(centroids[numbers[group]], own, atol=0.01)
    table.put(["new"], gates[:1], "gate")
    assert table.get("new").centroid == numbers[0]
    row, centroid = table.get_with_centroid("new")
    np.testing.assert_array_equal(centroid, centroids[row.centroid])
    clusters.make(0)
    assert table.get("new").centroid is None
    assert len(clusters.all()) == 0


def test_the_same_seed_gives_the_same_centroids(made):
    table, clusters = made
    table.put(list(range(60)), draw(60, 1, SHAPE), "gate")
    clusters.make(5, seed=3, sample=30)
    first = clusters.all()
    clusters.make(5, seed=3, sample=30)
    np.testing.assert_array_equal(clusters.all(), first)


def test_impossible_numbers_of_clusters(made):
    table, clusters = made
    table.put(["a"], draw(1, 0, SHAPE), "gate")
    clusters.make(1)
    with pytest.raises(DataError, match="1 users cannot be put into 2 clusters"):
        clusters.make(2)
    with pytest.raises(ConfigError, match="cannot be -1 clusters"):
        clusters.make(-1)
    assert len(clusters.all()) == 1


def test_one_centroid_of_few_users_is_their_mean():
    gates = draw(7, 2, SHAPE)
    np.testing.assert_allclose(fit_centroids(gates, 1)[0], gates.mean(0), atol=1e-6)


def test_many_users_find_the_same_groups():
    gates, kind = blobs(each=2000)
    centroids = fit_centroids(gates, 3)
    numbers = nearest_centroids(gates, centroids)
    for group in range(3):
        assert len(set(numbers[kind == group])) == 1
        own = gates[kind == group].mean(0)
        np.testing.assert_allclose(centroids[numbers[group]], own, atol=0.01)
