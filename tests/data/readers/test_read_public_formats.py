import gzip
import json
import zipfile

import datasets
import polars as pl
import pytest

from llmrec.data import Catalog, Dataset, Interactions
from llmrec.data.readers import (
    from_datasets,
    read_amazon2014,
    read_movielens,
    read_recbole,
    to_datasets,
)
from llmrec.errors import DataError

FLAGS_DRAMA_WAR = "|".join("1" if i in (8, 17) else "0" for i in range(19))
FLAGS_NONE = "|".join("0" * 19)


@pytest.fixture
def ml_100k(tmp_path):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text("196\t2\t3\t881250949\n186\t1\t4\t891717742\n")
    titles = f"1|Misérables, Les (1995)|01-Jan-1995||http://x|{FLAGS_DRAMA_WAR}\n"
    titles += f"2|unknown||||{FLAGS_NONE}\n"
    (folder / "u.item").write_bytes(titles.encode("latin-1"))
    (folder / "u.user").write_text("186|39|F|executive|00000\n196|49|M|writer|55105\n")
    return folder


def test_movielens_100k(ml_100k):
    dataset = read_movielens(ml_100k)
    assert dataset.name == "ml-100k"
    assert dataset.interactions.frame.rows() == [
        (186, 1, 891717742, 4.0),
        (196, 2, 881250949, 3.0),
    ]
    assert dataset.catalog.frame.select("item_id", "title", "category").rows() == [
        (1, "Misérables, Les (1995)", "Drama|War"),
        (2, "unknown", ""),
    ]
    assert dataset.users.rows() == [
        (186, 39, "F", "executive", "00000"),
        (196, 49, "M", "writer", "55105"),
    ]


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8"])
def test_movielens_1m_in_a_zip_with_a_folder_around(tmp_path, encoding):
    archive = tmp_path / "ml-1m.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("ml-1m/ratings.dat", "1::1193::5::978300760\r\n1::661::3.5::978302109\r\n")
        movies = '661::Café: A "Story" (1996)::Drama\n1193::Nest (1975)::Drama|War\n'
        out.writestr("ml-1m/movies.dat", movies.encode(encoding))
        out.writestr("ml-1m/users.dat", "1::F::1::10::48067-0001\n")
    dataset = read_movielens(archive)
    assert dataset.name == "ml-1m"
    assert dataset.interactions.frame.rows() == [
        (1, 1193, 978300760, 5.0),
        (1, 661, 978302109, 3.5),
    ]
    assert dataset.catalog.frame.row(0) == (661, 'Café: A "Story" (1996)', "Drama")
    assert dataset.users.row(0) == (1, "F", 1, "10", "48067-0001")


def test_movielens_csv(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n31,"Dangerous Minds, A (1995)",Drama\n'
    )
    dataset = read_movielens(tmp_path, "mine")
    assert dataset.interactions.frame.rows() == [(1, 31, 1260759144, 2.5)]
    assert dataset.catalog.frame.rows() == [(31, "Dangerous Minds, A (1995)", "Drama")]


def test_movielens_mistakes(tmp_path, ml_100k):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"none of u.data, ratings.dat, ratings.csv"):
        read_movielens(empty)
    (ml_100k / "u.user").write_text("186|39|F\n")
    with pytest.raises(DataError, match=r"u.user row 1: found 3 fields.*expected 5"):
        read_movielens(ml_100k)
    (ml_100k / "u.user").unlink()
    with pytest.raises(DataError, match=r"u.user is missing"):
        read_movielens(ml_100k)
    (tmp_path / "x.zip").write_bytes(b"PK nonsense")
    with pytest.raises(DataError, match="not a whole zip archive"):
        read_movielens(tmp_path / "x.zip")


def test_recbole_atomic_files(tmp_path):
    (tmp_path / "shop.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "a\t2\t4\t978300760.0\na\t1\t5\t978300700.0\n"
    )
    (tmp_path / "shop.item").write_text(
        "item_id:token\tmovie_title:token_seq\tclass:token_seq\tyear:float\n"
        '1\tThe "First\tDrama War\t1990\n2\tSecond\tWar\t\n'
    )
    (tmp_path / "shop.user").write_text("user_id:token\tage:float\na\t30\n")
    dataset = read_recbole(tmp_path)
    assert dataset.name == "shop"
    assert dataset.interactions.frame.rows() == [
        ("a", 1, 978300700, 5.0),
        ("a", 2, 978300760, 4.0),
    ]
    assert dataset.catalog.frame.to_dicts() == [
        {"item_id": 1, "title": 'The "First', "category": "Drama War", "year": 1990.0},
        {"item_id": 2, "title": "Second", "category": "War", "year": None},
    ]
    assert dataset.users.rows() == [("a", 30.0)]


def test_recbole_columns_are_renamed(tmp_path):
    (tmp_path / "yelp.inter").write_text("user_id:token\tbusiness_id:token\n1\tx\n")
    columns = {"item_id": "business_id"}
    assert read_recbole(tmp_path, columns=columns).interactions.frame.rows() == [(1, "x")]
    with pytest.raises(DataError, match=r"yelp.inter has no column 'item_id'"):
        read_recbole(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("user_id,item_id\n1,2\n", "'user_id,item_id' has no type"),
        ("user_id:tokens\titem_id:token\n1\t2\n", "unknown type; did you mean 'token"),
        ("user_id:token\titem_id:token\n", "header but no rows"),
        (
            "user_id:token\titem_id:token\trating:float\n1\t2\tx\n",
            "bad.inter row 1, column rating: found 'x'",
        ),
    ],
)
def test_recbole_mistakes(tmp_path, content, message):
    (tmp_path / "bad.inter").write_text(content)
    with pytest.raises(DataError, match=message):
        read_recbole(tmp_path / "bad.inter")
    with pytest.raises(DataError, match=r"0 .inter files"):
        read_recbole(tmp_path / "nowhere")


REVIEWS = [
    {
        "reviewerID": "A2",
        "asin": "0439",
        "overall": 5.0,
        "unixReviewTime": 1390000000,
        "helpful": [0, 1],
    },
    {
        "reviewerID": "A1",
        "asin": "B00X",
        "overall": 1.0,
        "unixReviewTime": 1380000000,
        "helpful": [2, 2],
    },
]
META = (
    "{'asin': '0439', 'title': 'It\\'s a pen', 'price': 3.5, 'salesRank': {'Beauty': 12}, "
    "'categories': [['Beauty', 'Pens'], ['Office']]}\n"
    "{'asin': 'ZZZ', 'title': 'never reviewed'}\n"
)


def amazon_files(tmp_path, meta=META):
    reviews = tmp_path / "reviews_Beauty_5.json.gz"
    lines = "".join(json.dumps(review) + "\n" for review in REVIEWS)
    reviews.write_bytes(gzip.compress(lines.encode()))
    described = tmp_path / "meta_Beauty.json.gz"
    described.write_bytes(gzip.compress(meta.encode()))
    return reviews, described


def test_amazon_2014(tmp_path):
    dataset = read_amazon2014(*amazon_files(tmp_path))
    assert dataset.name == "reviews_Beauty_5"
    assert dataset.interactions.frame.rows() == [
        ("A1", "B00X", 1380000000, 1.0),
        ("A2", "0439", 1390000000, 5.0),
    ]
    assert dataset.catalog.frame.to_dicts() == [
        {
            "item_id": "0439",
            "title": "It's a pen",
            "category": "Beauty, Pens",
            "brand": None,
            "description": None,
            "price": 3.5,
            "sales_rank": 12,
        },
        dict.fromkeys(["title", "category", "brand", "description", "price", "sales_rank"])
        | {"item_id": "B00X"},
    ]


def test_amazon_ratings_table_keeps_ids_as_text(tmp_path):
    path = tmp_path / "ratings_Beauty.csv"
    path.write_text("A1,0439,5.0,1390000000\n")
    assert read_amazon2014(path).interactions.frame.rows() == [("A1", "0439", 1390000000, 5.0)]


@pytest.mark.parametrize(
    "line",
    [
        "__import__('os').system('touch hacked')",
        "{'asin': open('hacked', 'w')}",
        "{'asin': " + "(" * 5000 + ")" * 5000 + "}",
        "[1, 2]",
        "{'asin': 'x'",
    ],
)
def test_amazon_meta_is_never_run(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"meta_Beauty.json.gz line 2 is neither"):
        read_amazon2014(*amazon_files(tmp_path, "{'asin': '0439'}\n" + line + "\n"))
    assert not (tmp_path / "hacked").exists()


def test_amazon_meta_without_id(tmp_path):
    with pytest.raises(DataError, match="line 1 has no 'asin'"):
        read_amazon2014(*amazon_files(tmp_path, "{'title': 'x'}\n"))


def test_hugging_face_round_trip_keeps_the_fingerprint():
    events = pl.DataFrame(
        {"user_id": ["b", "a"], "item_id": [1, 2], "timestamp": [5, 6], "rating": [None, 2.0]}
    )
    items = pl.DataFrame({"item_id": [1, 2, 3], "title": ["x", None, "z"]})
    users = pl.DataFrame({"user_id": ["a", "b"], "age": [1, 2]})
    dataset = Dataset("toy", Interactions(events), Catalog(items), users)
    given = to_datasets(dataset)
    assert isinstance(given, datasets.DatasetDict)
    assert from_datasets(given, "toy").fingerprint == dataset.fingerprint


def test_hugging_face_table_with_other_names_and_selected_rows():
    table = datasets.Dataset.from_dict({"u": [1, 2, 3], "i": [7, 8, 9]}).select([2, 0])
    dataset = from_datasets(table, columns={"user_id": "u", "item_id": "i"})
    assert dataset.interactions.frame.rows() == [(1, 7), (3, 9)]
    with pytest.raises(DataError, match=r"no column 'x' \(for user_id\)"):
        from_datasets(table, columns={"user_id": "x"})
    with pytest.raises(DataError, match="no column 'user_id'"):
        from_datasets(table)
    with pytest.raises(DataError, match=r'no \'interactions\'.*ds\["train"\]'):
        from_datasets(datasets.DatasetDict({"train": table}))
