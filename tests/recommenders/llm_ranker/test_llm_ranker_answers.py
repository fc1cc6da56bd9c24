"""Orders that language models write, legal ones and all others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmrec.recommenders.llm_ranker.answers import AnswerCounts, read_order

TITLES = ["Heat (1995)", "Alien (1979)", "Aliens (1986)", "1984"]


@pytest.mark.parametrize(
    ("answer", "places", "named", "legal"),
    [
        ("[2] > [4] > [1] > [3]", (1, 3, 0, 2), 4, True),
        ("2, 4, 1, 3", (1, 3, 0, 2), 4, True),
        ("The order is: 4 3 2 1.", (3, 2, 1, 0), 4, True),
        ("[2] > [4]", (1, 3, 0, 2), 2, False),
        ("[2] > [2] > [4] > [1] > [3]", (1, 3, 0, 2), 4, False),
        ("[2] > [9] > [4] > [1] > [3]", (1, 3, 0, 2), 4, False),
        ("[0] > [5]", (0, 1, 2, 3), 0, False),
        ("I cannot say.", (0, 1, 2, 3), 0, False),
        ("", (0, 1, 2, 3), 0, False),
        ("99999999999999999999", (0, 1, 2, 3), 0, False),
        # titles say more than the numbers before them
        ("1. Aliens (1986)\n2. Heat (1995)\n3. Alien (1979)", (2, 0, 1, 3), 3, False),
        ("ALIEN (1979) before heat (1995)", (1, 0, 2, 3), 2, False),
    ],
)
def test_answers(answer, places, named, legal):
    read = read_order(answer, TITLES)
    assert (read.places, read.named, read.legal) == (places, named, legal)


def test_titles_alone_can_be_a_legal_answer():
    read = read_order("Up; Heat; Alien", ["Heat", "Alien", "Up"])
    assert (read.places, read.legal) == ((2, 0, 1), True)


def test_equal_titles_are_each_taken_once():
    read = read_order("Up, Heat, Up", ["Up", "Heat", "Up"])
    assert sorted(read.places) == [0, 1, 2]
    assert read.places[1] == 1


@given(st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=6))
def test_any_answer_gives_every_candidate_once(answer, titles):
    read = read_order(answer, titles)
    assert sorted(read.places) == list(range(len(titles)))
    assert not read.legal or read.named == len(titles)


@given(st.permutations(range(7)))
def test_what_was_written_is_what_is_read(places):
    answer = " > ".join(f"[{place + 1}]" for place in places)
    read = read_order(answer, [f"film {letter}" for letter in "abcdefg"])
    assert (read.places, read.legal) == (tuple(places), True)


def test_counts():
    counts = AnswerCounts()
    assert counts.share_legal is None
    for answer in ("1 2 3 4", "4", "no"):
        counts.count(read_order(answer, TITLES))
    counts.count(None)
    assert (counts.asked, counts.legal, counts.partial, counts.unreadable, counts.failed) == (
        4,
        1,
        1,
        1,
        1,
    )
    assert counts.share_legal == 0.25
