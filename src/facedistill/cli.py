"""The command line: one sub-command a stage, and `animate`, the job the students exist for.

Every command imports its module itself: torch takes seconds, and `--help` must not. A file that is new to the user's eye
is bad input, not a bug: an `InputError` becomes one line on standard error and exit code 2.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from facedistill.core.errors import InputError

BAD_INPUT = 2
app = typer.Typer(
    name="facedistill",
    help="Tiny speech-driven facial animation models, distilled from a HuBERT teacher.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Runs the command line and exits: 0 done, 2 bad input or usage, 130 interrupted."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's own threads, idle but spinning, would take torch's cores
    try:
        app(prog_name="facedistill")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


@app.command()
def prepare() -> None:
    """Make the corpora: audio, timed phones and rig curves, with one manifest."""
    from facedistill.core.params import load_params
    from facedistill.prepare import prepare as run

    run(load_params())


@app.command()
def teach() -> None:
    """Train the teacher on the paired split."""
    from facedistill.core.params import load_params
    from facedistill.teach import teach as run

    run(load_params())


@app.command()
def label() -> None:
    """Let the teacher pseudo-label the training audio."""
    from facedistill.core.params import load_params
    from facedistill.label import label as run

    run(load_params())


@app.command()
def distill(name: Annotated[str, typer.Argument(help="The student, as in params.yaml, distill.")]) -> None:
    """Train one student on the pseudo-labels."""
    from facedistill.core.params import load_params
    from facedistill.distill import distill as run

    run(load_params(), name)


@app.command()
def ablate(name: Annotated[str, typer.Argument(help="The variant, as in params.yaml, ablate.")]) -> None:
    """Train one ablation variant of a student."""
    from facedistill.ablate import ablate as run
    from facedistill.core.params import load_params

    run(load_params(), name)


@app.command()
def evaluate() -> None:
    """Measure the teacher, the students and the baselines on the test splits."""
    from facedistill.core.params import load_params
    from facedistill.evaluate import evaluate as run

    run(load_params())


@app.command()
def notebook(
    names: Annotated[list[str], typer.Argument(metavar="STEM...", help="Stems of notebooks/, or paths that end in .ipynb.")],
    normalize: Annotated[bool, typer.Option("--normalize", help="Only rewrite the sources in canonical form.")] = False,
) -> None:
    """Run notebooks strictly; the executed copies go to notebooks/executed."""
    # jsonschema, under nbformat, would parse a grammar of IRIs for two seconds; notebooks have none to check.
    sys.modules.setdefault("rfc3987_syntax", None)
    from facedistill import notebooks
    from facedistill.core.paths import NOTEBOOKS

    if normalize:
        for name in names:
            notebooks.normalize(Path(name) if name.endswith(".ipynb") else NOTEBOOKS / f"{name}.ipynb")
        return
    from facedistill.core.params import load_params

    params = load_params()
    for name in names:
        notebooks.run_notebook(Path(name).stem if name.endswith(".ipynb") else name, params)


@app.command()
def animate(
    recordings: Annotated[list[Path], typer.Argument(metavar="RECORDING...", help="Audio files: wav, flac, ogg, mp3.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the curves go, one CSV a recording.")],
    model: Annotated[str, typer.Option(metavar="NAME", help="A distilled student, or the path of one.")] = "on-device",
    smoothed: Annotated[bool, typer.Option("--ensemble", help="Average three frames of 60 a second: less jitter.")] = False,
) -> None:
    """Turn recordings into ARKit curves at 30 frames a second; goes on past a bad file."""
    from facedistill.animate import animate_batch

    if animate_batch(recordings, out, model, smoothed=smoothed) > 0:
        raise typer.Exit(BAD_INPUT)
