"""Streaming, occlusion, heat maps and ONNX: each against predict_risk."""

import itertools
import json
from html.parser import HTMLParser

import numpy as np
import pytest
from los_net_training import QUICK

from llmrec.errors import ArtifactError, ConfigError, DataError
from llmrec.signatures.los_net import LOSNet
from llmrec.signatures.los_net.attribution import occlusion
from llmrec.signatures.los_net.export import OnnxLOSNet, export_onnx
from llmrec.signatures.los_net.heat_map import heat_map, to_ansi, to_html
from llmrec.signatures.los_net.streaming import RiskStream, slice_positions, split_positions
from llmrec.testing.signatures import labelled_signatures, record_of_logits

VARIANTS = [
    {},
    {"task": "membership", "layers": 2, "members": 2},
    {"pad_attention": "official", "normaliser": "full"},
    {"pooling": "mean", "long_text": "cut"},
    {"task": "membership", "stride": 10},
]


@pytest.fixture(scope="module", params=VARIANTS, ids=str)
def model(request):
    training = {**QUICK, "epochs": 1}
    options = {"k": 8, "hidden": 16, "window": 10, "stride": 5, **request.param}
    return LOSNet(**options, training=training).fit(*labelled_signatures(60, seed=0))


@pytest.fixture(scope="module")
def long_record():
    return labelled_signatures(1, seed=3, lengths=(33, 33))[0][0]


def test_streaming_equals_the_whole_after_every_position(model, long_record):
    stream = RiskStream(model)
    found = [stream.push(position) for position in split_positions(long_record)]
    beginnings = [slice_positions(long_record, 0, n) for n in range(1, 34)]
    np.testing.assert_allclose(found, model.predict_risk(beginnings), atol=1e-5)
    assert len(stream) == 33


@pytest.mark.parametrize("cuts", [(0, 17, 33), (0, 33), (0, 10, 20, 21, 33), (0, 1, 15, 16, 33)])
def test_streaming_takes_several_at_once(model, long_record, cuts):
    """Also where windows end, and where several of them end in one push."""
    stream = RiskStream(model)
    for start, stop in itertools.pairwise(cuts):
        found = stream.push(slice_positions(long_record, start, stop))
        whole = model.predict_risk([slice_positions(long_record, 0, stop)])
        assert found == pytest.approx(float(whole[0]), abs=1e-5)


def test_streaming_refuses_nothing_and_strangers(fitted, long_record):
    stream = RiskStream(fitted)
    with pytest.raises(ConfigError, match="at least one"):
        stream.push(slice_positions(long_record, 0, 0))
    with pytest.raises(DataError, match="mode unknown"):
        stream.push(labelled_signatures(1, seed=0, mode="unknown")[0][0])


def test_training_on_beginnings_makes_early_risk_useful(fitted):
    """A wrong start shows at once; a stream flags it before the end."""
    rng = np.random.default_rng(0)
    sure = 4.0 * rng.standard_normal((8, 50))
    hesitant = np.concatenate([sure[:2] / 4, sure[2:]])
    risks = []
    for logits in (sure, hesitant):
        record = record_of_logits(logits, np.random.default_rng(1), 8)
        stream = RiskStream(fitted)
        risks.append([stream.push(position) for position in split_positions(record)])
    assert risks[1][1] > risks[0][1]


# ---- occlusion ----


def test_occlusion_is_the_change_of_the_risk(fitted):
    """Against attention that is switched off by hand, one position at a time."""
    record = labelled_signatures(1, seed=6, lengths=(7, 7))[0][0]
    found = occlusion(fitted, record, as_logit=True)
    network = fitted.networks[0]
    source = fitted.checked_batches([record])
    batch = source.fixed(np.arange(1))
    expected = []
    for place in range(7):
        batch.seen[0, place] = False
        expected.append(float(network(batch).detach()[0]))
        batch.seen[0, place] = True
    whole = float(network(batch).detach()[0])
    np.testing.assert_allclose(found, whole - np.array(expected), atol=1e-5)


def test_occlusion_finds_the_hesitant_position(fitted):
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(20):
        logits = 4.0 * rng.standard_normal((8, 50))
        place = rng.integers(8)
        logits[place] /= 5
        found = occlusion(fitted, record_of_logits(logits, rng, 8), as_logit=True)
        hits += int(found.argmax() == place)
    assert hits >= 14


def test_occlusion_of_long_and_empty_texts(model, long_record):
    assert np.isfinite(occlusion(model, long_record)).all()
    cut = model.config.long_text == "cut"
    assert np.allclose(occlusion(model, long_record)[10:], 0) == cut
    empty = labelled_signatures(1, seed=0, lengths=(0, 0))[0][0]
    assert occlusion(model, empty).shape == (0,)


# ---- heat maps ----

HOSTILE = ("<script>alert(1)</script>", "\x1b[2Jgone", "a\nb", "\u202eback", " fine")


@pytest.fixture
def hostile():
    logits = np.random.default_rng(0).standard_normal((5, 50))
    record = record_of_logits(logits, np.random.default_rng(1), 8, tokens=HOSTILE)
    return heat_map(record, np.array([0.1, -0.3, 0.0, 0.3, 0.05]), 0.75, title="<b>who</b>")


class _Collect(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_html_escapes_what_a_model_writes(hostile):
    page = to_html([hostile])
    parser = _Collect()
    parser.feed(page)
    assert "script" not in parser.tags
    assert "b" not in parser.tags
    assert parser.tags.count("span") == 5
    assert "<script>alert(1)</script>" in parser.text
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_ansi_lets_no_control_character_through(hostile):
    shown = to_ansi(hostile)
    parts = shown.split("\x1b[")
    assert all(part.startswith(("48;2;", "0m")) for part in parts[1:])
    plain = to_ansi(hostile, colour=False)
    assert "\x1b" not in plain
    assert plain.count("\n") == 2
    assert "[\ufffdback]" in plain


def test_spans_for_a_report(hostile):
    values = json.loads(json.dumps(hostile.to_json()))
    text = "".join(HOSTILE)
    for span in values["spans"]:
        assert text[span["start"] : span["end"]] == span["text"]
    assert [span["strength"] for span in values["spans"]][1] == pytest.approx(-1.0)


def test_heat_maps_need_tokens_and_one_value_each(hostile):
    record = labelled_signatures(1, seed=0, tokens=None)[0][0]
    with pytest.raises(DataError, match="does not name its tokens"):
        heat_map(record, np.zeros(len(record)), 0.5)
    record = labelled_signatures(1, seed=0)[0][0]
    with pytest.raises(DataError, match=f"{len(record)} tokens have 99 values"):
        heat_map(record, np.zeros(99), 0.5)


# ---- ONNX ----


def test_onnx_gives_the_same_risk(model, tmp_path):
    pytest.importorskip("onnxruntime")
    records, _ = labelled_signatures(25, seed=7, lengths=(0, 33))
    scorer = OnnxLOSNet(export_onnx(model, tmp_path / "model.onnx"))
    for chosen in (records, records[:1], records[5:7]):
        np.testing.assert_allclose(
            scorer.predict_risk(chosen), model.predict_risk(chosen), atol=1e-4
        )


def test_int8_keeps_the_order(fitted, drawn, tmp_path):
    pytest.importorskip("onnxruntime")
    from sklearn.metrics import roc_auc_score

    records, labels = drawn[1]
    scorer = OnnxLOSNet(export_onnx(fitted, tmp_path / "model.onnx", int8=True))
    exact = roc_auc_score(labels, fitted.predict_risk(records))
    assert abs(roc_auc_score(labels, scorer.predict_risk(records)) - exact) < 0.01


def test_onnx_files_are_checked(fitted, tmp_path):
    pytest.importorskip("onnxruntime")
    path = export_onnx(fitted, tmp_path / "model.onnx")
    with pytest.raises(DataError, match="kind input"):
        OnnxLOSNet(path).predict_risk(labelled_signatures(1, seed=0, kind="input")[0])
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match="not the file that its settings describe"):
        OnnxLOSNet(path)
