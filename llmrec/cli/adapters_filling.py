"""``llmrec adapters create | refresh``: a store from a run, and new gates for it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmrec.cli.adapters_users import StoreArgument, open_store
from llmrec.cli.terminal import JsonOption, print_json, progress

if TYPE_CHECKING:
    from llmrec.adapters.refresh import Refreshed
    from llmrec.adapters.store import AdapterStore


BudgetOption = Annotated[
    int | None, typer.Option(min=1, help="Most bytes of adapters on disk.  [default: 10 GiB]")
]
TtlOption = Annotated[
    float | None, typer.Option(min=0, help="Seconds an unused adapter stays.  [default: no end]")
]
PriorEventsOption = Annotated[
    float, typer.Option(min=0, help="Events at which a user's own gate counts half; 0: fully.")
]
EventsOption = Annotated[
    Path | None, typer.Option(help="Events since the last refresh, which are kept; needs --run.")
]
StatesOption = Annotated[
    Path | None,
    typer.Option(
        help="A table user_id, state, ctr_model, [events, new_events] in place of --run and "
        "--events."
    ),
]
WholeOption = Annotated[
    bool,
    typer.Option(
        "--whole-histories",
        help="EVENTS and those kept are all that their users did; needed where the run does "
        "not say what its users did.",
    ),
]
MinEventsOption = Annotated[
    int, typer.Option(min=0, help="Leave users with fewer new events as they are.")
]
MinDriftOption = Annotated[
    float, typer.Option(min=0, help="Replace a gate only if a weight moves further.")
]


def create(
    store: StoreArgument,
    run: Annotated[Path, typer.Option(help="A run of a RecLoRA model.")],
    byte_budget: BudgetOption = None,
    ttl: TtlOption = None,
    gate_dtype: Annotated[str, typer.Option(help="Of gates: float16 or float32.")] = "float16",
    keep_versions: Annotated[int, typer.Option(min=0, help="Earlier gates kept of each user.")] = 2,
    prior_events: PriorEventsOption = 0.0,
    rank: Annotated[
        int | None, typer.Option(min=1, help="Of adapters.  [default: the exact one]")
    ] = None,
    dtype: Annotated[
        str, typer.Option(help="Of adapters: float64, float32, float16 or bfloat16.")
    ] = "float32",
    as_json: JsonOption = False,
) -> None:
    """Make a store with the gates of all users that a run's model knows."""
    settings: dict[str, Any] = {"gate_dtype": gate_dtype, "keep_versions": keep_versions,
                                "prior_events": prior_events, "rank": rank, "dtype": dtype,
                                "ttl": ttl or None}  # fmt: skip
    if byte_budget is not None:
        settings["byte_budget"] = byte_budget
    made = _made_of(run, store, settings)
    if as_json:
        print_json({"folder": store, "users": len(made.gates), "bundle": made.bundle.to_dict()})
    else:
        print(f"{store}: gates of {len(made.gates):,} users")


def refresh(
    store: StoreArgument,
    run: Annotated[Path | None, typer.Option(help="A run whose model gives gates.")] = None,
    events: EventsOption = None,
    states: StatesOption = None,
    whole_histories: WholeOption = False,
    source: Annotated[str, typer.Option(help="Written beside the gates.")] = "refresh",
    min_events: MinEventsOption = 1,
    min_drift: MinDriftOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compute new gates from new events, or from states of users; no training."""
    from dataclasses import asdict

    from llmrec.errors import ConfigError

    if (run is None) == (states is None) or (run is None) != (events is None):
        raise ConfigError("give --run with --events, or --states.")
    if whole_histories and events is None:
        raise ConfigError("--whole-histories is about --events.")
    opened, left_out = open_store(store), 0
    options: dict[str, Any] = {"name": source, "min_events": min_events, "min_drift": min_drift}
    if run is not None and events is not None:
        done, left_out = _from_run(opened, run, events, whole=whole_histories, **options)
    else:
        assert states is not None
        done = _from_states(opened, states, **options)
    if as_json:
        print_json({**asdict(done), "events_of_unknown_items": left_out})
    else:
        _tell(done, left_out)


def _tell(done: "Refreshed", left_out: int) -> None:
    print(f"{done.new:,} new users, {done.updated:,} updated, {done.unchanged:,} unchanged")
    if done.overtaken:
        print(f"{done.overtaken:,} were forgotten, or got another gate, meanwhile and were left")
    if left_out:
        print(f"{left_out:,} events of items that the model does not know were left out")


def _made_of(run: Path, store: Path, settings: dict[str, Any]) -> "AdapterStore":
    from llmrec.errors import ConfigError
    from llmrec.recommenders.reclora import RecLoRA
    from llmrec.runs.loading import load

    model = load(run)
    if not isinstance(model, RecLoRA):
        raise ConfigError(
            f"{run} holds a model {model.name!r}, which has no experts; name a RecLoRA run."
        )
    progress("computing gates")
    return model.make_store(store, **settings)


def _from_states(opened: "AdapterStore", path: Path, **options: Any) -> "Refreshed":
    from llmrec.adapters.refresh import refresh_from_states
    from llmrec.adapters.states_files import read_states

    given = read_states(path)
    given.require(opened.bundle, path)
    return refresh_from_states(
        opened,
        given.users,
        given.states,
        events=given.events,
        new_events=given.new_events,
        **options,
    )


def _from_run(
    opened: "AdapterStore", run: Path, events: Path, **options: Any
) -> tuple["Refreshed", int]:
    from llmrec.adapters.refresh import GateSource
    from llmrec.errors import ConfigError
    from llmrec.runs.loading import load
    from llmrec.runs.new_events import refresh_from_run

    model = load(run)
    if not isinstance(model, GateSource):
        raise ConfigError(
            f"{run} holds a model {model.name!r}, which gives no gates; name a RecLoRA run."
        )
    progress("reading events")
    return refresh_from_run(opened, model, events, **options)
