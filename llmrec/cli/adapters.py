"""``llmrec adapters``: what a store holds, one user's adapter as files, versions, forgetting."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.adapters_filling import create, refresh
from llmrec.cli.adapters_serving import serve, token
from llmrec.cli.adapters_users import (
    NumberOption,
    StoreArgument,
    UserArgument,
    known_user,
    open_store,
    user_id,
)
from llmrec.cli.terminal import JsonOption, print_json, print_table, printable, progress

if TYPE_CHECKING:
    from llmrec.adapters.store import AdapterStore

app = typer.Typer(
    rich_markup_mode=None,
    help="Make, list, export, verify, refresh, serve and forget users' adapters.",
)
app.command()(create)
app.command()(refresh)
app.command()(serve)
app.command()(token)


@app.command("list")
def list_command(
    store: StoreArgument,
    limit: Annotated[int, typer.Option(min=0, help="Most users to list.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Show what a store was made for, how healthy and how full it is, and its first users."""
    from llmrec.adapters.diagnostics import diagnose

    opened = open_store(store)
    fields = ("user", "version", "source", "time", "centroid")
    rows = [{name: getattr(row, name) for name in fields} for row in opened.gates.rows(limit)]
    facts = {**diagnose(opened), "bundle": opened.bundle.to_dict()}
    if as_json:
        print_json({**facts, "listed": rows})
        return
    print(f"{facts['users']:,} users, {facts['adapters']:,} adapters on disk, ", end="")
    print(f"{facts['adapter_bytes']:,} of {facts['byte_budget']:,} bytes")
    print(f"made for {', '.join(f'{k} {v}' for k, v in opened.bundle.to_dict().items() if v)}")
    for name in ("bytes_per_user", "gate_entropy", "gate_variance", "expert_cosine"):
        if facts[name] is not None:
            print(f"{name.replace('_', ' ')}: {facts[name]:.4g}")
    for warning in facts["warnings"]:
        print(f"warning: {warning}")
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
    rank: Annotated[int | None, typer.Option(min=1, help="Rank.  [default: the exact one]")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float64, float32, float16 or bfloat16.  [default: the store's]"),
    ] = None,
    number: NumberOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one user's adapter to a folder that peft and vLLM load."""
    opened = open_store(store)
    progress(f"materialising the adapter of {printable(user)}")
    made = opened.export(known_user(opened, user, number), output, rank, dtype)
    if as_json:
        print_json({"folder": output, "rank": made.rank, "error": made.error})
    else:
        print(f"{output}: rank {made.rank}, relative error {made.error:.2g}")


@app.command()
def verify(
    store: StoreArgument,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="The user's id.")] = None,
    base: Annotated[
        str | None, typer.Option(help="Base model.  [default: the one the store names]")
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(help="Arithmetic to compare in; may be given again.  [default: float32]"),
    ] = None,
    number: NumberOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read all files of a store against their hashes; with USER, compare model and adapter.

    Exit status 1 where something differs. Damaged adapters are removed and made again when asked
    for; of the file of gates and kept events the structure is checked, and nothing is removed.
    """
    opened = open_store(store)
    damaged, broken = opened.files.damaged(), opened.gates.damage()
    found = [] if user is None else _compared(opened, user, base, dtype or ["float32"], number)
    if as_json:
        whole = {"adapters": len(opened.files.names()), "damaged": damaged, "database": broken}
        print_json({**whole, "compared": found})
    else:
        print(f"{len(opened.files.names()):,} adapters are whole, {len(damaged)} were damaged")
        for problem in broken:
            print(f"the file of gates is damaged: {printable(problem)}")
        _print_compared(found)
    sound = not damaged and not broken
    raise typer.Exit(0 if sound and all(each["equal"] for each in found) else 1)


@app.command()
def rollback(
    store: StoreArgument,
    user: UserArgument,
    version: Annotated[int | None, typer.Option(help="Which; none lists those kept.")] = None,
    number: NumberOption = False,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier gate of a user again, or list the versions that are kept."""
    opened = open_store(store)
    who = known_user(opened, user, number)
    if version is not None:
        opened.gates.rollback(who, version)
    rows = [(r.version, r.source, r.time) for r in opened.gates.versions(who)]
    if as_json:
        names = ("version", "source", "time")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
    else:
        print_table(("version", "source", "written"), [(v, printable(s), t) for v, s, t in rows])


@app.command()
def limit(
    store: StoreArgument,
    byte_budget: Annotated[int | None, typer.Option(min=1, help="Most bytes on disk.")] = None,
    ttl: Annotated[
        float | None, typer.Option(min=0, help="Seconds an unused adapter stays; 0: any time.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Change how much and how long adapters are kept on disk, and evict what is beyond that."""
    opened = open_store(store)
    opened.limit(byte_budget=byte_budget, ttl=ttl)
    facts = {"byte_budget": opened.settings.byte_budget, "ttl": opened.settings.ttl}
    facts |= {name: opened.stats()[name] for name in ("adapters", "adapter_bytes")}
    if as_json:
        print_json(facts)
    else:
        print(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items()))


@app.command()
def forget(
    store: StoreArgument,
    user: UserArgument,
    number: NumberOption = False,
    as_json: JsonOption = False,
) -> None:
    """Remove a user's gates, events and adapters, fix means anew, and rewrite the store's file."""
    opened = open_store(store)
    found = opened.forget(user_id(opened, user, number))
    if as_json:
        print_json({"known": found.known, "removed": found.removed, "in_use": found.in_use})
        return
    what = "gate removed" if found.known else "nothing was stored"
    print(f"{printable(user)}: {what}, {len(found.removed)} adapters deleted")
    if found.removed:
        print(f"where a server runs, tell it to unload: {', '.join(found.removed)}")
    print(
        "not removable: what these events changed in trained weights and in centroids of several "
        "users, until they are made anew"
    )


def _print_compared(found: list[dict[str, Any]]) -> None:
    if not found:
        return
    rows = [
        (e["dtype"], f"{e['largest']:.3g}", e["tolerance"], "yes" if e["equal"] else "NO")
        for e in found
    ]
    print_table(("dtype", "largest difference", "allowed", "equal"), rows)


def _compared(
    opened: "AdapterStore", user: str, base: str | None, dtypes: list[str], number: bool
) -> list[dict[str, Any]]:
    import tempfile
    from dataclasses import asdict

    import torch

    from llmrec.adapters.verify import verify_export
    from llmrec.inference.hf_loading import load_model

    row = opened.gate(known_user(opened, user, number))
    assert row is not None
    name = base or opened.experts.base.name
    progress(f"loading {name}")
    model, _ = load_model(name, None, "float32")
    found = []
    for kind in dtypes:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "adapter"
            opened.export(row.user, place, dtype=kind)
            gate = torch.from_numpy(row.gate)
            each = verify_export(model, opened.experts, gate, place, kind)
        found.append({**asdict(each), "equal": each.equal})
    return found
