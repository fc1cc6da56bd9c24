"""``llmrec signatures compare`` from a table of probabilities to figures."""

import json

import numpy as np
from typer.testing import CliRunner

from llmrec.cli.app import app
from llmrec.signatures.comparison import load_signature_results


def table(path):
    rng = np.random.default_rng(0)
    lines = ["question_id,gold,tokens,probs"]
    for question in range(120):
        best = rng.uniform(0.3, 0.95)
        gold = "a" if rng.random() < best else "b"
        lines.append(f"q{question},{gold},a b c,{best:.5f} {0.7 * (1 - best):.5f} 0.001")
    path.write_text("\n".join(lines) + "\nq,x\n")
    return path


def test_one_command_makes_the_table(tmp_path):
    data = table(tmp_path / "model.csv")
    verb = ["signatures", "compare", str(data), "--k", "3", "--seeds", "1", "--json"]
    methods = ["--baseline", "max_probability", "--baseline", "length", "--name", "mine"]
    small = ["--set", "hidden=16", "--set", "training.epochs=1", "--output", str(tmp_path)]
    done = CliRunner().invoke(app, [*verb, *methods, *small])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert shown["methods"].keys() == {"max_probability", "length", "los_net", "shuffled_labels"}
    assert "line 122: 2 fields instead of 4" in done.stderr
    (written,) = load_signature_results(tmp_path)
    assert written.task == "mine"
    assert sum(written.split.records.values()) == 120


def test_an_unknown_baseline_is_named(tmp_path):
    data = table(tmp_path / "model.csv")
    verb = ["signatures", "compare", str(data), "--baseline", "bosting"]
    done = CliRunner().invoke(app, verb)
    assert done.exit_code == 2 or "boosting" in str(done.exception)
