"""The command `benchmark`: one step, or all in order."""

from pathlib import Path

from facedistill.real_speech.settings import FOLDER, load_settings

STEPS = ("inventory", "animate", "score", "draw")


def benchmark(steps: tuple[str, ...] = STEPS, *, folder: Path = FOLDER) -> None:
    """Runs steps of the benchmark on recordings.

    Args:
        steps: of `STEPS`.
        folder: holds params.yaml, and gets what the steps write.

    Raises:
        InputError: parameters, the manifest, recordings, a model or a tool cannot be used.
    """
    settings = load_settings(folder)
    for step in steps:
        if step == "inventory":
            from facedistill.real_speech.inventory import inventory

            inventory(settings, folder)
        elif step == "animate":
            from facedistill.real_speech.animate import animate
            from facedistill.real_speech.inventory import read_inventory

            animate(settings, folder, read_inventory(settings, folder))
        elif step == "score":
            from facedistill.real_speech.inventory import read_inventory
            from facedistill.real_speech.score import score

            score(settings, folder, read_inventory(settings, folder))
        else:
            from facedistill.real_speech.draw import draw

            draw(folder)
