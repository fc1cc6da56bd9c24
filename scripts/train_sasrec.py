"""Train SASRec on one or many processes and keep the result as a run.

    accelerate launch scripts/train_sasrec.py --recipe eval/recipes/NAME.yaml
    torchrun --nproc_per_node 2 scripts/train_sasrec.py --recipe ... --output runs/x   # on CPUs
    python scripts/train_sasrec.py --recipe ... training.epochs=5 model.dim=32

Data, split, judging and the run are those of ``llmrec train``. The batch size of the recipe is
that of all processes together, so their number changes the speed and not the result. Only the
main process judges and writes.
"""

import argparse
from pathlib import Path

from llmrec.errors import ConfigError, run_script


def main() -> None:
    """Read the arguments and train."""
    parser = argparse.ArgumentParser(description="Train SASRec under accelerate.")
    parser.add_argument("--recipe", type=Path, required=True, help="a recipe in YAML")
    parser.add_argument("--output", type=Path, help="the run; default: runs/<recipe name>")
    parser.add_argument("--seed", type=int, help="default: the first of the recipe")
    parser.add_argument("--part", default="valid", help="part to judge on: valid, test or none")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    arguments = parser.parse_args()

    # ---- recipe: before anything slow is imported, so that a mistake costs nothing ----
    from llmrec.runs.recipe import load_recipe

    recipe = load_recipe(arguments.recipe, arguments.overrides)
    if recipe.model.name != "sasrec":
        raise ConfigError(f"{arguments.recipe} is for {recipe.model.name}; use 'llmrec train'.")
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

    # ---- training: the main process makes the run, the others lend it their gradients ----
    from llmrec.runs.together import train_together

    part, resume = arguments.part, arguments.resume
    run = train_together(state, recipe, output, split, seed=seed, part=part, resume=resume)
    if run is not None:
        print(f"saved in {run.path}, trained by {state.num_processes} processes")
    end_processes()


if __name__ == "__main__":
    run_script(main)
