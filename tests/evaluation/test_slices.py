import numpy as np

from llmrec.evaluation.slices import by_cold, by_history_length, by_target_popularity


def names(slicing):
    return [slicing.labels[group] for group in slicing.group]


def test_history_lengths_fall_into_named_groups():
    slicing = by_history_length([0, 1, 2, 3, 10, 11, 20, 50, 51, 100, 101])
    assert names(slicing) == [
        "0", "1-2", "1-2", "3-5", "6-10", "11-20", "11-20", "21-50", "51-100", "51-100", "101+",
    ]  # fmt: skip


def test_groups_without_cases_are_left_out_and_keep_their_order():
    assert by_history_length([60, 2]).labels == ("1-2", "51-100")


def test_popularity_groups_name_their_boundaries():
    # Ten trained items: the upper tenth begins at 100 events, the upper half at 6.
    counts = np.array([0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100])
    slicing = by_target_popularity([100, 99, 6, 5, 0], counts)
    assert names(slicing) == [
        "head (100+ events)",
        "mid (6-99 events)",
        "mid (6-99 events)",
        "tail (0-5 events)",
        "tail (0-5 events)",
    ]


def test_items_that_are_all_alike_form_one_group():
    assert names(by_target_popularity([4, 4], [4, 4, 4])) == ["head (4+ events)"] * 2


def test_cold_cases():
    assert names(by_cold([False, True])) == ["warm", "cold"]
    assert by_cold([True]).labels == ("cold",)
