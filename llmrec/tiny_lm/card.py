"""The card of an embedded model, written from its figures; texts of data are treated as hostile."""

from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2.sandbox import SandboxedEnvironment

from llmrec.data.histories import Origin
from llmrec.tiny_lm.config import TinyConfig
from llmrec.tiny_lm.corpus import Documents


def render_card(
    origin: Origin, documents: Documents, config: TinyConfig, metrics: Mapping[str, Any]
) -> str:
    """Write the card as Markdown with the front matter of the Hugging Face hub."""
    template = resources.files("llmrec.tiny_lm").joinpath("templates/card.md.j2")
    environment = SandboxedEnvironment(
        autoescape=False, trim_blocks=True, lstrip_blocks=True, finalize=_tame
    )
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        origin=origin,
        counts=documents.counts,
        config=config.model_dump(mode="json"),
        metrics=metrics,
    )


def _tame(value: Any) -> Any:
    if isinstance(value, str):
        return " ".join(value.replace("|", "/").replace("`", "'").split())
    return value
