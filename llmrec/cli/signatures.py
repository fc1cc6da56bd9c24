"""``llmrec signatures``: keep signatures, train detectors of risk, score answers, write reports."""

import typer

from llmrec.cli.signatures_capture import capture
from llmrec.cli.signatures_compare import compare
from llmrec.cli.signatures_report import report
from llmrec.cli.signatures_score import score
from llmrec.cli.signatures_train import train

app = typer.Typer(
    rich_markup_mode=None,
    help="Can an answer be trusted, was a text trained on? From top-K log-probabilities.",
)

app.command(short_help="Ask a model and keep the signatures.")(capture)
app.command(short_help="Train and calibrate a detector of risk.")(train)
app.command(short_help="LOS-Net, baselines and controls in one table.")(compare)
app.command(short_help="Say how risky answers are, line by line.")(score)
app.command(short_help="Write an offline HTML page about risks.")(report)
