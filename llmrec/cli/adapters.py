"""``llmrec adapters``: what a store holds, one user's adapter as files, and forgetting a user."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmrec.cli.terminal import JsonOption, print_json, print_table, printable, progress

if TYPE_CHECKING:
    from llmrec.adapters.store import AdapterStore
    from llmrec.adapters.user_keys import UserId

app = typer.Typer(rich_markup_mode=None, help="List, export, verify and forget users' adapters.")

StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of the store.")]
UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's id.")]


@app.command("list")
def list_command(
    store: StoreArgument,
    limit: Annotated[int, typer.Option(min=0, help="Most users to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what a store was made for, how full it is, and its first users."""
    opened = _open(store)
    fields = ("user", "version", "source", "time", "centroid")
    rows = [{name: getattr(row, name) for name in fields} for row in opened.gates.rows(limit)]
    facts = {**opened.stats(), "bundle": opened.bundle.to_dict()}
    if as_json:
        print_json({**facts, "listed": rows})
        return
    print(f"{facts['users']:,} users, {facts['adapters']:,} adapters on disk, ", end="")
    print(f"{facts['adapter_bytes']:,} of {facts['byte_budget']:,} bytes")
    print(f"made for {', '.join(f'{k} {v}' for k, v in opened.bundle.to_dict().items() if v)}")
    header = ("user", "version", "source", "written", "cluster")
    print_table(
        header,
        [
            (printable(r["user"]), r["version"], printable(r["source"]), r["time"],
             "-" if r["centroid"] is None else r["centroid"])
            for r in rows
        ],
    )  # fmt: skip


@app.command()
def export(
    store: StoreArgument,
    user: UserArgument,
    output: Annotated[Path, typer.Option(help="Folder for the adapter, in peft's layout.")],
    rank: Annotated[int | None, typer.Option(min=1, help="Rank; default is the exact one.")] = None,
    dtype: Annotated[str | None, typer.Option(help="float64, float32, float16, bfloat16.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Write one user's adapter to a folder that peft and vLLM load."""
    opened = _open(store)
    progress(f"materialising the adapter of {user}")
    made = opened.export(_user(opened, user), output, rank, dtype)
    if as_json:
        print_json({"folder": output, "rank": made.rank, "error": made.error})
    else:
        print(f"{output}: rank {made.rank}, relative error {made.error:.2g}")


@app.command()
def verify(
    store: StoreArgument,
    user: UserArgument,
    base: Annotated[
        str | None, typer.Option(help="Base model; default is the one the store names.")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option(help="Arithmetic to compare in; may be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a user's exported adapter with the model it comes from; exit status 1 if unlike."""
    import tempfile
    from dataclasses import asdict

    import torch

    from llmrec.adapters.verify import verify_export
    from llmrec.inference.hf_loading import load_model

    opened = _open(store)
    known = _user(opened, user)
    name = base or opened.experts.base.name
    progress(f"loading {name}")
    model, _ = load_model(name, None, "float32")
    found = []
    for kind in dtype or ["float32"]:
        with tempfile.TemporaryDirectory() as folder:
            opened.export(known, Path(folder) / "adapter", dtype=kind)
            row = opened.gate(known)
            assert row is not None
            gate = torch.from_numpy(row.gate)
            found.append(verify_export(model, opened.experts, gate, Path(folder) / "adapter", kind))
    if as_json:
        print_json([{**asdict(each), "equal": each.equal} for each in found])
    else:
        print_table(
            ("dtype", "largest difference", "allowed", "equal"),
            [(e.dtype, f"{e.largest:.3g}", e.tolerance, "yes" if e.equal else "NO") for e in found],
        )
    raise typer.Exit(0 if all(each.equal for each in found) else 1)


@app.command()
def forget(store: StoreArgument, user: UserArgument, as_json: JsonOption = False) -> None:
    """Remove a user's gate and adapters, and rewrite the store's file."""
    opened = _open(store)
    found = opened.forget(_user(opened, user, needed=False))
    if as_json:
        print_json({"known": found.known, "removed": found.removed, "in_use": found.in_use})
        return
    what = "gate removed" if found.known else "there was no gate"
    print(f"{printable(user)}: {what}, {len(found.removed)} adapters deleted")
    if found.in_use:
        print(f"tell the engine to unload: {', '.join(found.in_use)}")
    print(
        "not removable: what these events changed in trained weights, centroids and the prior, "
        "until they are made anew"
    )


def _open(folder: Path) -> "AdapterStore":
    from llmrec.adapters.store import AdapterStore

    return AdapterStore(folder)


def _user(store: "AdapterStore", text: str, needed: bool = True) -> "UserId":
    """The id as the store holds it: a text, or a whole number written as one."""
    from llmrec.errors import UnknownIdError

    number = text.removeprefix("-")
    candidates: list[UserId] = [text]
    if number.isascii() and number.isdigit():
        candidates.append(int(text))
    for candidate in candidates:
        if store.gate(candidate) is not None:
            return candidate
    if needed:
        raise UnknownIdError(f"the store has no gate of user {text!r}; 'adapters list' names some.")
    return candidates[-1]
