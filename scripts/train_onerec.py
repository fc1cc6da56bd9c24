"""Train OneRec on one or many processes, align it where the recipe says so, keep both as runs.

    python scripts/train_onerec.py --recipe eval/recipes/simulate-small-onerec-ipa.yaml
    accelerate launch scripts/train_onerec.py --recipe eval/recipes/NAME.yaml --resume
    torchrun --nproc_per_node 2 scripts/train_onerec.py --recipe ... training.epochs=5

A recipe with ``model.alignment`` gives two runs: OUTPUT.sft after supervised training and OUTPUT
after alignment. Lists of an iteration are written by all processes, each its share; pairs are made
by the main one; all lend their gradients. The batch size is that of all processes together, so
their number changes the speed and not the result. Only the main process judges and writes.
"""

import argparse
from pathlib import Path

from llmrec.errors import ConfigError, run_script


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train and align OneRec under accelerate.")
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe in YAML")
    parser.add_argument("--output", type=Path, help="the run; default: runs/<recipe name>")
    parser.add_argument("--run", type=Path, help="align this run instead of training one")
    parser.add_argument("--seed", type=int, help="default: the first of the recipe")
    parser.add_argument("--part", default="valid", help="part to judge on: valid, test or none")
    parser.add_argument("--resume", action="store_true", help="go on where it stopped")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    return parser.parse_args()


def main() -> None:
    """Read the arguments, train, align."""
    arguments = parse_arguments()

    # ---- recipe: before anything slow is imported, so that a mistake costs nothing ----
    from llmrec.runs.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if recipe.model.name not in ("onerec", "onerec_lm"):
        raise ConfigError(f"{arguments.recipe} is for {recipe.model.name}; use 'llmrec train'.")
    aligns = bool(recipe.model.settings.get("alignment"))
    if arguments.run is not None and not aligns:
        raise ConfigError(
            f"--run is a run to align, but {arguments.recipe} has no model.alignment; leave it out."
        )
    output = arguments.output or Path("runs") / recipe.name
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed

    # ---- data: the main process first, so that a preparation happens once ----
    from llmrec.data.named import load_dataset
    from llmrec.evaluation.tasks import load_task
    from llmrec.training.setup import end_processes, processes

    state = processes()
    task = load_task(recipe.task)
    with state.main_process_first():
        split = task.split(load_dataset(task.dataset))

    # ---- training, and alignment where the recipe has one ----
    from llmrec.runs.aligning import align, train_supervised

    if aligns:
        align(
            recipe, output, start=arguments.run, seed=seed, part=arguments.part,
            resume=arguments.resume, split=split,
        )  # fmt: skip
    else:
        train_supervised(recipe, output, seed, arguments.part, arguments.resume, split)
    if state.is_main_process:
        print(f"saved in {output}, trained by {state.num_processes} processes")
    end_processes()


if __name__ == "__main__":
    run_script(main)
