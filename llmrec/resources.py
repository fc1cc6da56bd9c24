"""Where the files that come with the toolkit lie: tasks, recipes, prompts, adapter recipes.

In a checkout they are folders beside the package, in an installed wheel they are package data
under ``llmrec/_resources``. Nothing else in the toolkit needs to know which of the two it is.
"""

from pathlib import Path

from llmrec.errors import ArtifactError

_PACKAGE = Path(__file__).resolve().parent


def resource_dir(name: str) -> Path:
    """Find a folder that ships with the toolkit.

    Args:
        name: Path relative to the top of the project, for instance ``"eval/tasks"``.

    Raises:
        ArtifactError: The folder is in neither place; the installation is incomplete.
    """
    checkout = _PACKAGE.parent
    places = [_PACKAGE / "_resources" / name]
    if (checkout / "pyproject.toml").is_file():  # a neighbour in site-packages is not ours
        places.insert(0, checkout / name)
    for place in places:
        if place.is_dir():
            return place
    raise ArtifactError(
        f"the folder {name!r} that ships with llmrec is missing (looked in "
        f"{' and '.join(str(place) for place in places)}); install llmrec again."
    )
