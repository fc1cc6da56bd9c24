"""Train RecLoRA on one or many processes and keep the result as a run.

    python scripts/train_reclora.py --base tiny:ml-1m-collm          # a CPU, the embedded model
    python scripts/train_reclora.py --recipe eval/recipes/ml-1m-collm-reclora.yaml
    accelerate launch scripts/train_reclora.py --base hf:NAME --dtype bfloat16 --lora-recipe qwen2
    accelerate launch --config_file scripts/fsdp.yaml scripts/train_reclora.py --base hf:NAME

Options change values of the recipe; further values follow as name=value (training.epochs=2
model.subset=10000). ``--lora-recipe`` takes target layers, rank, alpha, experts, composition and
gate scope from ``adapters/``, where families of base models have one each. The CTR model is trained
first, by all processes together; only the main one writes, and only it judges, unless the base
model is parted among them (``--shard-base true``, or a launch with FSDP): then all do all passes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llmrec.errors import ConfigError, run_script

if TYPE_CHECKING:
    from llmrec.runs.recipe import Recipe

MODEL_OPTIONS = {
    "--base": ("base", "base model: tiny:DATASET, hf:NAME or a folder"),
    "--dtype": ("base_dtype", "number format of the base model: float32, bfloat16, float16"),
    "--compose": ("lora.compose", "merge_factors, sum_products, rank_scale, shared"),
    "--gate-input": ("lora.gate_input", "user, instance"),
    "--gate-control": ("gate_control", "none, uniform, shuffled"),
    "--retrieval": ("retrieval", "recent, user_topk, target_topk"),
    "--subset": ("subset", "most rows for the language model's part"),
    "--shard-base": ("shard_base", "true: each process holds a share of the frozen base model"),
    "--gradient-checkpointing": ("gradient_checkpointing", "true: less memory, more time"),
}
TRAINING = {
    "epochs": 2,
    "batch_size": 128,
    "learning_rate": 0.0003,
    "schedule": "linear",
    "metric": "auc",
}
FROM_LORA_RECIPE = ("target_modules", "experts", "rank", "alpha", "compose", "gate_scope")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train RecLoRA under accelerate.")
    parser.add_argument("--recipe", type=Path, help="a recipe in YAML; default: all defaults")
    parser.add_argument("--task", help="default: that of the recipe, else ml-1m-collm")
    parser.add_argument("--lora-recipe", help="a recipe of adapters/, by name or file")
    for option, (name, text) in MODEL_OPTIONS.items():
        parser.add_argument(option, dest=name, help=text)
    parser.add_argument("--output", type=Path, help="the run; default: runs/<recipe name>")
    parser.add_argument("--seed", type=int, help="default: the first of the recipe")
    parser.add_argument("--part", default="valid", help="part to judge on: valid, test or none")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    return parser.parse_args()


def changes_of(arguments: argparse.Namespace) -> list[str]:
    """Overrides of the recipe: those of the LoRA recipe first, so that options win."""
    from llmrec.adapters.recipes import lora_recipe

    changes = fsdp_changes()
    if arguments.lora_recipe is not None:
        adapted = lora_recipe(arguments.lora_recipe).model_dump(mode="json")
        changes += [f"model.lora.{name}={adapted[name]}" for name in FROM_LORA_RECIPE]
    given = {name: getattr(arguments, name) for name, _ in MODEL_OPTIONS.values()}
    changes += [f"model.{name}={value}" for name, value in given.items() if value is not None]
    changes += [f"task={arguments.task}"] if arguments.task else []
    return changes + list(arguments.overrides)


def fsdp_changes() -> list[str]:
    """Overrides that do what a launch with accelerate's FSDP asks for."""
    from llmrec.training.fsdp_launch import take_over_fsdp

    asked = take_over_fsdp()
    if asked is None:
        return []
    recomputes = ["model.gradient_checkpointing=true"] if asked.recomputes else []
    return ["model.shard_base=true", *recomputes]


def recipe_of(path: Path | None, changes: list[str]) -> "Recipe":
    from llmrec.runs.recipe import load_recipe, parse_recipe

    if path is not None:
        return load_recipe(path, changes)
    plain = {"name": "reclora", "task": "ml-1m-collm", "model": {"name": "reclora"}}
    return parse_recipe({**plain, "training": TRAINING}, changes)


def main() -> None:
    """Read the arguments and train."""
    arguments = parse_arguments()

    # ---- recipe and task: before anything slow happens, so that a mistake costs nothing ----
    from llmrec.evaluation.tasks import load_task

    recipe = recipe_of(arguments.recipe, changes_of(arguments))
    if recipe.model.name != "reclora":
        raise ConfigError(f"{recipe.source} is for {recipe.model.name}; use 'llmrec train'.")
    output = arguments.output or Path("runs") / recipe.name
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    task = load_task(recipe.task)

    # ---- data: the main process first, so that a preparation happens once ----
    from llmrec.data.named import load_dataset
    from llmrec.training.setup import end_processes, processes

    state = processes()
    with state.main_process_first():
        split = task.split(load_dataset(task.dataset))

    # ---- training: the main process makes the run, the others lend it their gradients ----
    from llmrec.runs.together import train_together

    part, resume = arguments.part, arguments.resume
    run = train_together(state, recipe, output, split, seed=seed, part=part, resume=resume)
    if run is not None:
        print(f"saved in {run.path}, trained by {state.num_processes} processes")
    end_processes()


if __name__ == "__main__":
    run_script(main)
