"""Train SRA-CL on one or many processes and keep the result as a run.

    python scripts/train_sra_cl.py                                  # the simulator, on a CPU
    accelerate launch scripts/train_sra_cl.py --dataset amazon-office --text-encoder minilm
    torchrun --nproc_per_node 2 scripts/train_sra_cl.py --recipe eval/recipes/NAME.yaml

Options change values of the recipe, or of the task where they are about data and judging; further
values follow as name=value (training.epochs=5 model.dim=32). Without a recipe everything else has
its default.

Every process contrasts the sequences of its own share of a batch, so with several processes the
contrastive terms see fewer negatives at a time; for the same number as in one process raise
training.batch_size and model.anchors with the processes. Only the main process judges and writes.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from llmrec.errors import ConfigError, run_script

if TYPE_CHECKING:
    from llmrec.runs.recipe import Recipe

MODEL_OPTIONS = {
    "--text-encoder": ("text_encoder", "tfidf, minilm, or a sentence-transformers model"),
    "--alpha": ("alpha", "weight of the contrast with other users' similar sequences"),
    "--beta": ("beta", "weight of the contrast with a sequence whose items were substituted"),
    "--coarse-intent": ("coarse_intent", "weight of the contrast by the next item"),
    "--fine-intent": ("fine_intent", "weight of the contrast by cluster"),
    "--bank": ("neighbor_bank", "write_through, refresh, momentum, or none (exact, slow)"),
    "--profiles": ("user_text", "mean (none written), prefix, every_m, or user"),
}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train SRA-CL under accelerate.")
    parser.add_argument("--recipe", type=Path, help="a recipe in YAML; default: all defaults")
    parser.add_argument("--task", help="default: that of the recipe, else simulate-small")
    parser.add_argument("--dataset", help="another data set than the task's")
    parser.add_argument("--split", help="another split: leave_one_out, ratio, global_time, given")
    for option, (name, text) in MODEL_OPTIONS.items():
        parser.add_argument(option, dest=name, help=text)
    parser.add_argument("--output", type=Path, help="the run; default: runs/<recipe name>")
    parser.add_argument("--seed", type=int, help="default: the first of the recipe")
    parser.add_argument("--part", default="valid", help="part to judge on: valid, test or none")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="changed values")
    return parser.parse_args()


def recipe_of(path: Path | None, changes: list[str]) -> "Recipe":
    from llmrec.runs.recipe import load_recipe, parse_recipe

    if path is not None:
        return load_recipe(path, changes)
    plain = {"name": "sra-cl", "task": "simulate-small", "model": {"name": "sra_cl"}}
    return parse_recipe(plain, changes)


def main() -> None:
    """Read the arguments and train."""
    arguments = parse_arguments()

    # ---- recipe and task: before anything slow is imported, so that a mistake costs nothing ----
    from llmrec.evaluation.tasks import Task, load_task
    from llmrec.storage import write_text

    given = {name: getattr(arguments, name) for name, _ in MODEL_OPTIONS.values()}
    changes = [f"model.{name}={value}" for name, value in given.items() if value is not None]
    changes += [f"task={arguments.task}"] if arguments.task else []
    changes += arguments.overrides
    recipe = recipe_of(arguments.recipe, changes)
    if recipe.model.name != "sra_cl":
        raise ConfigError(f"{recipe.source} is for {recipe.model.name}; use 'llmrec train'.")
    output = arguments.output or Path("runs") / recipe.name
    seed = recipe.seeds[0] if arguments.seed is None else arguments.seed
    task, task_file = load_task(recipe.task), None
    if arguments.dataset or arguments.split:  # a task of one's own, kept beside the run
        task_file = output.with_name(f"{output.name}.task.yaml")
        values = task.model_dump(mode="json", by_alias=True)
        values |= {"name": f"{output.name}-task", "dataset": arguments.dataset or task.dataset}
        values |= {"split": {"name": arguments.split}} if arguments.split else {}
        task = Task.model_validate(values)
        recipe = recipe_of(arguments.recipe, [*changes, f"task={task_file}"])

    # ---- data: the main process first, so that a preparation happens once ----
    from llmrec.data.named import load_dataset
    from llmrec.training.setup import end_processes, processes

    state = processes()
    with state.main_process_first():
        split = task.split(load_dataset(task.dataset))
    if task_file is not None and state.is_main_process:
        write_text(task_file, yaml.safe_dump(values, sort_keys=False))

    # ---- training: the main process makes the run, the others lend it their gradients ----
    from llmrec.runs.together import train_together

    part, resume = arguments.part, arguments.resume
    run = train_together(state, recipe, output, split, seed=seed, part=part, resume=resume)
    if run is not None:
        print(f"saved in {run.path}, trained by {state.num_processes} processes")
    end_processes()


if __name__ == "__main__":
    run_script(main)
