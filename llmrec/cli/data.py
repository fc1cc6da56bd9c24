"""``llmrec data``: what data there is, whether a file is sound, and copies in one layout."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llmrec.cli.terminal import JsonOption, print_json, print_table, printable, progress

app = typer.Typer(rich_markup_mode=None, help="List, describe, check, prepare and simulate data.")

NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="A data set; 'llmrec data list' names them.")
]
_HELD_AT_ONCE = 50_000  # users of a simulation; more are written chunk by chunk
LicenceOption = Annotated[
    bool, typer.Option("--accept-licence", help="Accept the licence of data to be downloaded.")
]


@app.command("list")
def list_command(as_json: JsonOption = False) -> None:
    """List the data sets known by name and where a copy was found."""
    rows = list_data_sets()
    if as_json:
        print_json(rows)
        return
    print_table(
        ("name", "users", "items", "events", "clock", "found in"),
        [
            (r["name"], r["users"], r["items"], r["events"] or "", r["clock"], r["found"] or "-")
            for r in rows
        ],
    )


def list_data_sets() -> list[dict[str, Any]]:
    """Name, size, clock, licence and place of every data set known by name."""
    from llmrec.data.named import find_dataset, list_datasets
    from llmrec.data.simulator.presets import PRESETS

    rows = []
    for card in list_datasets():
        users, items, events = card.counts
        folder = find_dataset(card.name)
        rows.append(
            {"name": card.name, "users": users, "items": items, "events": events}
            | {"clock": card.has_timestamps, "licence": card.licence}
            | {"found": None if folder is None else str(folder)}
        )
    rows += [
        {"name": preset.name, "users": preset.users, "items": preset.items.items}
        | {"events": None, "clock": True, "licence": "none, simulated", "found": "simulator"}
        for preset in PRESETS.values()
    ]
    return rows


@app.command()
def info(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show what is known about a data set, and what a copy here really holds."""
    from dataclasses import asdict

    from llmrec.data.named import dataset_info, find_dataset

    facts: dict[str, Any] = {"name": name}
    simulated = name.startswith("simulate:")
    local = None if simulated else find_dataset(name)
    if not simulated and (local is None or name in _known_names()):
        facts |= asdict(dataset_info(name))
    if simulated or local is not None:
        progress(f"reading {name}")
        facts |= _measured(name) | {"found": "simulator" if simulated else str(local)}
    else:
        facts["found"] = None
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        if value not in (None, "", (), {}) and key not in ("files", "downloads", "counts"):
            print(f"{key.ljust(width)}  {printable(value)}")
    if facts["found"] is None:
        print(f"\nno copy here; 'llmrec data prepare {name} --accept-licence' downloads it")


def _known_names() -> set[str]:
    from llmrec.data.named import list_datasets

    return {card.name for card in list_datasets()}


def _measured(name: str) -> dict[str, Any]:
    from llmrec.data.named import load_dataset

    dataset = load_dataset(name)
    return {
        "users": len(dataset.user_vocabulary),
        "items": len(dataset.catalog),
        "events": len(dataset.interactions),
        "item_columns": dataset.catalog.frame.columns,
        "fingerprint": dataset.fingerprint,
    }


@app.command()
def validate(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file, a folder, or the name of a data set.")
    ],
    limit: Annotated[int, typer.Option(min=1, help="Most rows to name per rule.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Check data row by row; exit status 1 if something would stop a reader."""
    from dataclasses import asdict

    from llmrec.data.named import find_dataset, load_dataset
    from llmrec.data.validation import validate as check

    progress(f"checking {data}")
    source: Any = data
    if not Path(data).exists():
        source = find_dataset(data) or (
            load_dataset(data) if data.startswith("simulate:") else Path(data)
        )
    findings = check(source, limit)
    errors = sum(finding.severity == "error" for finding in findings)
    if as_json:
        print_json({"errors": errors, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            print(printable(finding))
        print(f"{errors} errors, {len(findings) - errors} other findings in {data}")
    raise typer.Exit(1 if errors else 0)


@app.command()
def prepare(
    name: NameArgument,
    output: Annotated[
        Path | None, typer.Option(help="Write a copy in the uniform layout to this folder.")
    ] = None,
    accept_licence: LicenceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find or download a data set, check it, and keep it where it will be found again."""
    from llmrec.data.named import find_dataset, load_dataset

    progress(f"looking for {name}")
    dataset = load_dataset(name, accept_licence)
    place = find_dataset(name)
    if output is not None:
        place = _write(dataset, output)
    if as_json:
        print_json({"name": name, "fingerprint": dataset.fingerprint, "folder": place})
    else:
        print(dataset)
        print(f"folder: {place if place is not None else 'none, made by the simulator'}")


@app.command()
def simulate(
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="A preset, e.g. simulate:small@1.")
    ],
    output: Annotated[Path, typer.Option(help="The folder to write, in the uniform layout.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Another world than the preset's own.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make data with known truth: users with tastes, items with text, sessions, likes."""
    from llmrec.data.simulator import simulate as run_simulator
    from llmrec.data.simulator.large import write_large
    from llmrec.data.simulator.presets import PRESETS

    name = preset if preset.startswith("simulate:") else f"simulate:{preset}"
    progress(f"simulating {name}")
    if PRESETS.get(name) is not None and PRESETS[name].users > _HELD_AT_ONCE:
        folder, facts = write_large(output, name, seed), name
    else:
        dataset = run_simulator(name, seed).dataset
        folder, facts = _write(dataset, output), str(dataset)
    if as_json:
        print_json({"name": name, "seed": seed, "folder": folder})
    else:
        print(f"{facts}\nfolder: {folder}")


def _write(dataset: Any, folder: Path) -> Path:
    from llmrec.data.readers.uniform import write_uniform_folder

    write_uniform_folder(dataset, folder, "parquet")
    return folder
