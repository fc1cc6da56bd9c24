"""``llmrec adapters serve | token``: a vLLM server over a store, and who may use it."""

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.adapters_users import NumberOption, StoreArgument, open_store, user_id
from llmrec.cli.terminal import JsonOption, print_json


def serve(
    store: StoreArgument,
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Folder of the base model.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[OPTION]", help="Options for vLLM, after ' -- '.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port.")] = 8000,
    slots: Annotated[int, typer.Option(min=1, help="Adapters in one batch.")] = 8,
    public: Annotated[
        bool, typer.Option("--public", help="Allow an address that others can reach.")
    ] = False,
) -> None:
    """Serve every user's own adapter with vLLM; the key is in LLMREC_ADAPTER_KEY."""
    from llmrec.adapters import vllm_server
    from llmrec.recommenders.reclora.base_model import tokenizer_in

    opened = open_store(store)
    environment = vllm_server.prepare(opened)
    tokenizer = tokenizer_in(base).fingerprint if opened.bundle.tokenizer else ""
    command = vllm_server.arguments(
        opened, base, host=host, port=port, slots=slots, public=public, more=more or [],
        tokenizer=tokenizer,
    )  # fmt: skip
    vllm_server.serve(command, environment)


def token(
    store: StoreArgument,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="The user's id.")] = None,
    operator: Annotated[
        bool, typer.Option("--operator", help="A token for everything, in place of USER.")
    ] = False,
    hours: Annotated[float, typer.Option(help="How long it holds.")] = 24.0,
    number: NumberOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print a token for USER's adapter, signed with the key in LLMREC_ADAPTER_KEY."""
    import os

    from llmrec.adapters.access import Tokens
    from llmrec.adapters.vllm_resolver import KEY
    from llmrec.errors import ConfigError

    if (user is None) != operator:
        raise ConfigError("name a user, or say --operator.")
    tokens = Tokens(os.environ.get(KEY, ""))
    if user is None:
        made = tokens.of_operator(hours * 3600)
    else:
        made = tokens.of_user(user_id(open_store(store), user, number), hours * 3600)
    if as_json:
        print_json({"token": made})
    else:
        print(made)
