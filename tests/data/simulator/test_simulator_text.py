import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from llmrec.data.simulator.text import describe


def nearest(texts):
    """Index of the most similar other text."""
    vectors = TfidfVectorizer().fit_transform(texts)
    similarity = (vectors @ vectors.T).toarray()
    np.fill_diagonal(similarity, -1)
    return similarity.argmax(axis=1)


@pytest.mark.parametrize("column", ["title", "description"])
def test_texts_that_are_alike_share_a_topic(small, column):
    catalog = small.dataset.catalog.frame
    category = catalog["category"].to_numpy()
    share = (category == category[nearest(catalog[column].to_list())]).mean()
    chance = np.mean([(category == name).mean() for name in category])
    assert chance < 0.2
    assert share > 0.75


def test_descriptions_mention_the_second_topic(small):
    items = small._world.items
    mixed = items.companion != items.topic
    texts = describe(items, np.random.default_rng(0))["description"].to_list()
    tails = [text.rsplit("with a touch of ", 1)[1] for text in texts]
    similar = nearest(tails)
    assert (items.companion[mixed] == items.companion[similar][mixed]).mean() > 0.9


def test_series_share_their_title_and_no_two_items_do(small):
    titles = small.dataset.catalog.titles
    assert titles.n_unique() == len(titles)
    names = titles.str.replace(r": Part \d+$", "").to_numpy()
    following = small._world.items.following
    has_next = following >= 0
    assert (names[has_next] == names[following[has_next]]).all()
    assert len(set(names)) == len(set(small._world.items.series))


def test_titles_are_readable(small):
    catalog = small.dataset.catalog.frame
    assert catalog["title"].str.contains(r"^[A-Z][\w-]+ [A-Z]\w+ [A-Z]\w+: Part [1-4]$").all()
    assert catalog["description"].str.contains(r"^The [a-z-]+ \w+: .+, with a touch of .+\.$").all()
