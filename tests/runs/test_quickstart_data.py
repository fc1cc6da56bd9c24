"""Which data the quickstart takes, and that it never waits for a network that is not there."""

import http.server
import threading
import time

import pytest

from llmrec.errors import ConfigError, DataError
from llmrec.runs import quickstart
from llmrec.runs.quickstart import FALLBACK, PREFERRED, SMALL, Choice, answers, choose_data


@pytest.fixture
def nothing_at_hand(monkeypatch, tmp_path):
    monkeypatch.setenv("LLMREC_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMREC_DATA_HOME", raising=False)


def test_a_copy_at_hand_comes_first(tmp_path, monkeypatch):
    folder = tmp_path / PREFERRED
    folder.mkdir()
    (folder / "interactions.csv").write_text("user_id,item_id\n1,2\n")
    monkeypatch.setenv("LLMREC_DATA_HOME", str(tmp_path))
    choice = choose_data(None, small=False)
    assert (choice.name, choice.download) == (PREFERRED, False)
    assert str(folder) in choice.reason


@pytest.mark.parametrize(("reachable", "expected"), [(True, PREFERRED), (False, FALLBACK)])
def test_without_a_copy_the_network_decides(nothing_at_hand, monkeypatch, reachable, expected):
    monkeypatch.setattr(quickstart, "answers", lambda url: reachable)
    choice = choose_data(None, small=False)
    assert (choice.name, choice.download) == (expected, reachable)
    assert ("GroupLens" in choice.licence) == reachable


def test_small_and_asked_for(nothing_at_hand):
    assert choose_data(None, small=True).name == SMALL
    assert choose_data("my-data", small=True).name == "my-data"


def test_a_failed_download_falls_back(nothing_at_hand, monkeypatch, tmp_path):
    real = quickstart.load_dataset

    def no_download(name, accept_licence=False):
        if name == PREFERRED:
            raise DataError("the connection broke.")
        return real("simulate:tiny@1")

    monkeypatch.setattr(quickstart, "load_dataset", no_download)
    monkeypatch.setattr(quickstart, "FALLBACK", SMALL)
    chosen = Choice(PREFERRED, "real", download=True)
    choice, _, split = quickstart.prepare(chosen, tmp_path)
    assert choice.name == split.dataset.name == SMALL
    assert "the connection broke" in choice.reason


def test_a_name_that_was_asked_for_is_not_replaced(nothing_at_hand, tmp_path):
    with pytest.raises(ConfigError, match="unknown data set"):
        quickstart.prepare(Choice("no-such-data", "as asked"), tmp_path)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        if self.path == "/slow":
            time.sleep(3)
        self.send_response(404 if self.path == "/gone" else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(("path", "expected"), [("/", True), ("/gone", False)])
def test_a_server_is_asked(server, path, expected):
    assert answers(server + path) is expected


def test_a_silent_server_is_not_waited_for(server):
    assert answers(f"{server}/slow", within=0.3) is False  # the server would answer later


def test_a_shipped_task_is_used_where_there_is_one(tmp_path):
    assert quickstart._task_for("simulate:small@1", tmp_path) == "simulate-small"
    assert quickstart._task_for("ml-latest-small", tmp_path) == "ml-latest-small"
    assert quickstart._task_for("my-data", tmp_path) == str(tmp_path / "task.yaml")
