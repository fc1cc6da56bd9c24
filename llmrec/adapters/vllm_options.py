"""Options of vLLM that would undo what ``llmrec adapters serve`` sets and checks.

Where an option is given twice, vLLM takes the last one. Its parser takes any beginning of an
option's name that is not another option's, underscores for dashes, and values after ``=``.

Left to whoever starts the server are options about speed, memory and the precision of numbers
(``--dtype``, ``--quantization``, ``--max-cpu-loras``), and those without effect on a folder
(``--revision``).
"""

from collections.abc import Iterable

from llmrec.errors import ConfigError

_SET = "is set by this command; "
_ONE_GATE = _SET + "leave it out, adapters come from STORE"
_ROOM = _SET + "leave it out, it follows from STORE"
_ANOTHER = "would serve another model than the one that is checked; prepare the folder BASE instead"
_AS_CHECKED = (
    "would read the prompt by another tokenizer than the one that is checked; leave it out"
)
_REFUSED = {
    "--config": "could name any other option; give options one by one after ' -- '",
    "--default-mm-loras": _ONE_GATE,
    "--enable-lora": _ROOM,
    "--grpc": "would start a server without the gate; leave it out",
    "--hf-config-path": _ANOTHER,
    "--hf-overrides": _ANOTHER,
    "--host": _SET + "give --host before ' -- '",
    "--load-format": _ANOTHER,
    "--lora-modules": _ONE_GATE,
    "--lora-target-modules": _ROOM,
    "--max-lora-rank": _ROOM,
    "--max-loras": _SET + "give --slots before ' -- '",
    "--middleware": _SET + "put a proxy before the server instead",
    "--model": _SET + "name the model as BASE",
    "--model-class-overrides": _ANOTHER,
    "--no-enable-lora": _ROOM,
    "--port": _SET + "give --port before ' -- '",
    "--root-path": _SET + "let a proxy take the prefix away instead",
    "--served-model-name": _SET + "leave it out, users ask for 'own' or 'base'",
    "--tokenizer": _SET + "BASE must hold the tokenizer",
    "--tokenizer-mode": _AS_CHECKED,
    "--uds": _SET + "give --host and --port before ' -- '",
}


def require_allowed(words: Iterable[str]) -> None:
    """Refuse what vLLM would take for an option that undoes a check.

    Args:
        words: A command line for vLLM; words that are no options are passed over.

    Raises:
        ConfigError: The word, the option, and what to do instead.
    """
    for word in words:
        name = word.partition("=")[0].partition(".")[0].replace("_", "-")
        if not name.startswith("--") or name == "--":
            continue
        meant = (
            name if name in _REFUSED else next((o for o in _REFUSED if o.startswith(name)), None)
        )
        if meant is not None:
            said = meant if name == meant else f"{name:.80}, which vLLM may take for {meant},"
            raise ConfigError(f"{said} {_REFUSED[meant]}.")
