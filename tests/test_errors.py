"""Sentences are short and suggest the name that was meant."""

import pytest

from llmrec import errors
from llmrec.errors import DataError, LlmrecError, nearest_name, run_script, shorten


def test_every_error_is_one_the_command_line_catches():
    mine = [v for v in vars(errors).values() if getattr(v, "__module__", "") == errors.__name__]
    kinds = [value for value in mine if isinstance(value, type)]
    assert len(kinds) >= 7
    assert all(issubclass(kind, LlmrecError) for kind in kinds)
    assert issubclass(LlmrecError, ValueError)


def test_a_mistake_in_a_script_is_a_sentence_and_status_2(capsys):
    def main():
        raise DataError("the file is empty.")

    with pytest.raises(SystemExit) as caught:
        run_script(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: the file is empty.\n"


def test_a_defect_in_a_script_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run_script(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sasrek", "; did you mean 'sasrec'?"),
        ("Item_knn", "; did you mean 'item_knn'?"),
        ("zzz", "; known names are item_knn, popularity, sasrec"),
    ],
)
def test_nearest_name(name, expected):
    assert nearest_name(name, ["sasrec", "popularity", "item_knn"]) == expected
    assert nearest_name(name, []) == ""


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], ""),
        (["a"], "'a'"),
        ([1, 2, 3], "1, 2, 3"),
        (range(1, 9), "1, 2, 3, 4, 5 and 3 more"),
        (iter(["it's"]), '"it\'s"'),
    ],
)
def test_shorten(values, expected):
    assert shorten(values) == expected
