"""The command line: commands that use a model, and one sub-command a stage of the pipeline that makes models.

Every command imports its module itself: torch takes seconds, and `--help` must not. A file that is new to the user's eye
is bad input, not a bug: an `InputError` becomes one line on standard error and exit code 2.
"""

import os
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.exceptions

from facedistill import STAGES
from facedistill.core.errors import InputError
from facedistill.core.messages import print_error, show_notes
from facedistill.core.paths import HEAD, ROOT
from facedistill.core.processes import end_cleanly
from facedistill.study.command import app as study

FAILED, BAD_INPUT = 1, 2
NO_LIBRARY = "cannot open shared object file"
MAX_SUBJECT = 64
FORMATS = ("livelink", "a2f", "a2f-csv", "beat", "csv", "json", "npz", "glb")
Format = Literal[FORMATS]
USE, REPRODUCE = "Use a model", "Make models (stages of the pipeline, in order)"
EXTRAS = {"render": "film", "study": "study"}  # what commands need beside the core; all others: train
TIMED = ({*STAGES} - {"check"}) | {"notebook"}  # commands of whose runs it is noted how long they took
app = typer.Typer(
    name="facedistill",
    help="Tiny speech-driven facial animation models, distilled from a HuBERT teacher: sound in, ARKit curves out.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

MODEL = "A released model by its name, on-device-int8 say; any other by its file, data/export/small/small.onnx say."
ModelName = Annotated[str, typer.Option("--model", "-m", metavar="NAME|PATH", help=MODEL)]
Fps = Annotated[Literal["24", "25", "30", "60"], typer.Option(help="Frames a second.")]
Ensemble = Annotated[bool, typer.Option("--ensemble", help="Average three predictions 1/60 s apart: less jitter, 16.7 ms later.")]
Blinks = Annotated[bool, typer.Option("--blinks", help="Blinks and eye darts in place of the model's eyes.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the blinks and eye darts.")]
Face = Annotated[Path | None, typer.Option(metavar="HEAD.glb", help="For glb: any head with ARKit's shapes; else the built-in.")]


def main() -> None:
    """Runs the command line and exits: 0 done, 2 bad input or usage, 130 interrupted."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy's own threads, idle but spinning, would take torch's cores
    if len(sys.argv) < 2:
        sys.argv.append("--help")
    show_notes()
    end_cleanly()
    try:
        _check_clone(sys.argv[1])
        start_s = time.monotonic()
        code = app(prog_name="facedistill", standalone_mode=False)
        if sys.argv[1] in TIMED and "--help" not in sys.argv and not code:
            from facedistill.repro.durations import record_duration

            record_duration(" ".join(sys.argv[1:]), time.monotonic() - start_s)
        sys.exit(code)
    except (InputError, OSError) as error:  # OSError: a name too long, a folder that must not be written to, a full disk
        print_error(str(error))
    except MemoryError:
        print_error(f"{sys.argv[1]}: not enough memory for it; expected a smaller input, or more memory")
    except ImportError as error:
        if str(error.name).startswith("facedistill"):
            raise
        if isinstance(error, ModuleNotFoundError):
            extra = EXTRAS.get(sys.argv[1], "train")
            way = "-e " if extra == "train" else ""  # which the pipeline needs: it writes beside its sources
            print_error(f'{sys.argv[1]} needs the package {error.name}; hint: in the clone, `pip install {way}".[{extra}]"`')
        elif NO_LIBRARY in str(error):  # one of the system, that a package needs
            print_error(f"{sys.argv[1]}: {error}; hint: install that library of the system (README says how)")
        else:
            raise
    except typer.exceptions.TyperException as error:  # wrong usage, which Typer itself would tell in a box of lines
        print_error(" ".join(error.format_message().split()))
    sys.exit(BAD_INPUT)


def _check_clone(command: str) -> None:
    """Commands that make models and texts work in a clone alone, from whose sources they run."""
    of_clones = {one.name or one.callback.__name__ for one in app.registered_commands if one.rich_help_panel == REPRODUCE}
    if command in of_clones and "--help" not in sys.argv and not (ROOT / "dvc.yaml").is_file():
        raise InputError(f'{command}: {ROOT} is no clone; expected `pip install -e ".[train]"` in one')


app.add_typer(study, name="study", rich_help_panel=USE)


@app.command(rich_help_panel=USE)
def animate(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="IN...", help="Recordings (wav, flac, mp3, ogg, opus, m4a, webm, ...), or folders of them."),
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="OUT", help="A folder; or a file, for one recording.")],
    format: Annotated[Format, typer.Option(metavar="FORMAT", help=f"What the files are for: {', '.join(FORMATS)}.")] = "csv",
    fps: Fps = "30",
    model: ModelName = "tiny-real-time",
    ensemble: Ensemble = False,
    blinks: Blinks = False,
    seed: Seed = 0,
    gain: Annotated[list[str] | None, typer.Option(metavar="CURVE=FACTOR", help="Scale a curve; repeatable.")] = None,
    face: Face = None,
    workers: Annotated[int, typer.Option(min=1, help="Recordings at a time.")] = os.cpu_count() or 1,
) -> None:
    """Turn recordings into files of ARKit curves; goes on past a bad recording."""
    from facedistill.app.animate import Settings, animate_batch
    from facedistill.runtime import find_model

    if face is not None and format != "glb":
        raise InputError(f"--face {face}: only for --format glb")
    settings = Settings(
        find_model(model),
        fps=int(fps),
        ensemble=ensemble,
        blinks=seed if blinks else None,
        gains=dict(map(_gain, gain or [])),
        kind=format,
        face=face,
    )
    if animate_batch(inputs, out, settings, workers=workers) > 0:
        raise typer.Exit(BAD_INPUT)


@app.command(rich_help_panel=USE)
def live(
    target: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where Unreal's Live Link listens.")] = "127.0.0.1:11111",
    mic: Annotated[bool, typer.Option("--mic", help="Hear the default microphone, until Ctrl-C.")] = False,
    wav: Annotated[Path | None, typer.Option(metavar="FILE", help="Hear a recording instead, at its own pace.")] = None,
    fps: Fps = "60",
    model: ModelName = "tiny-real-time",
    ensemble: Ensemble = False,
    blinks: Blinks = False,
    seed: Seed = 0,
    subject: Annotated[str, typer.Option(help="The name that Unreal shows.")] = "facedistill",
) -> None:
    """Move a face in Unreal as the sound comes in: Live Link Face packets over UDP."""
    from facedistill.app import live as module
    from facedistill.runtime import Model, find_model

    if mic == (wav is not None):
        raise InputError("live: either --mic or --wav FILE")
    address, name, loaded = _address(target), _subject(subject), Model(find_model(model))
    source = module.stream_microphone(int(fps)) if mic else module.stream_recording(wav, int(fps))
    print(f"live: {'microphone' if mic else wav} -> {target}, {fps} frames a second, Ctrl-C ends", file=sys.stderr)
    n_sent = module.live(source, loaded, address, fps=int(fps), ensemble=ensemble, blinks=seed if blinks else None, subject=name)
    print(f"live: {n_sent} frames sent", file=sys.stderr)


@app.command(rich_help_panel=USE)
def convert(
    source: Annotated[Path, typer.Argument(metavar="A", help="A file of curves; its format is told from its content.")],
    target: Annotated[Path, typer.Argument(metavar="B", help="The file to write.")],
    format: Annotated[
        Format | None, typer.Option("--to", metavar="FORMAT", help=f"Of B, if its suffix does not tell: {', '.join(FORMATS)}.")
    ] = None,
    source_format: Annotated[
        Format | None, typer.Option("--from", metavar="FORMAT", help="Of A, if its content does not tell.")
    ] = None,
    fps: Annotated[float | None, typer.Option(min=1, max=1000, help="Resample to this rate; not done unasked.")] = None,
    source_fps: Annotated[
        float | None, typer.Option(min=1, max=1000, help="The rate of A, where what it says of its times is wrong.")
    ] = None,
    face: Face = None,
) -> None:
    """Turn curves of one format into another; nothing is lost, or the command refuses."""
    from facedistill.formats import registry

    registry.convert(source, target, source_kind=source_format, kind=format, fps=source_fps, at_fps=fps, face=face)


@app.command(rich_help_panel=USE)
def render(
    sources: Annotated[
        list[Path], typer.Argument(metavar="CURVES|RECORDING...", help="What to show; a model animates recordings first.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="OUT", help=".mp4, .gif, .png for a row of pictures, or a folder of films.")
    ],
    compare: Annotated[bool, typer.Option("--compare", help="All of them side by side, under their names.")] = False,
    sound: Annotated[
        Path | None, typer.Option(metavar="RECORDING", help="What is heard with CURVES; or a folder of them, by name.")
    ] = None,
    strip: Annotated[bool, typer.Option("--strip", help="Show the sound below the faces.")] = False,
    phones: Annotated[Path | None, typer.Option(metavar="TSV", help="Timed phones, shown in the strip.")] = None,
    model: ModelName = "tiny-real-time",
    fps: Fps = "30",
    size: Annotated[int, typer.Option(help="Height of a face in pixels; even.")] = 512,
    turn: Annotated[float, typer.Option(min=-180, max=180, help="Of the head, in degrees; above 0 to show its left.")] = 0.0,
    face: Annotated[
        Path | None, typer.Option(metavar="HEAD.glb", help="Any head with ARKit's shapes; else the built-in.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw.")] = os.cpu_count() or 1,
) -> None:
    """Draw the face as it speaks: a film with its sound, side by side with others if wanted."""
    from facedistill.app.render import render_files
    from facedistill.render.film import Look

    look = Look(float(fps), size, turn, face)
    for path in render_files(
        sources, out, look, model=model, compare=compare, sound=sound, phones=phones, strip=strip, workers=workers
    ):
        print(path)


@app.command(rich_help_panel=USE)
def info(
    model: Annotated[str, typer.Argument(metavar="NAME|PATH", help=MODEL)],
) -> None:
    """Tell what a model is: what it hears, what it gives, how late it is, and its licence."""
    from facedistill.app.info import print_info

    print_info(model)


@app.command(rich_help_panel=USE)
def bench(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="NAME|PATH...", help="Models as in `info`; all released ones, if none.")
    ] = None,
    exported: Annotated[bool, typer.Option("--exported", help="All of data/export instead, and the teacher.")] = False,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of sound in each measurement.")] = 10,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE.json", help="Where to keep the measurements.")] = None,
) -> None:
    """Measure what models cost on this machine: time, delay and memory, beside the teacher and an envelope."""
    from facedistill.app.bench import bench as run

    run(models or [], seconds=seconds, out=out, exported=exported)


@app.command(rich_help_panel=REPRODUCE)
def config(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A file of configs/ by its name, or one that ends in .yaml.")],
) -> None:
    """Print a whole params.yaml: the default with what a configuration changes in it."""
    from facedistill.repro.config import config as run

    print(run(name), end="")


def _add_stage(stage: str, help: str, named: str | None) -> None:
    """Adds the command of a stage, `facedistill.pipeline.<stage>.<stage>`; `named` is what it makes one of, if it does."""

    def run(*names: str) -> None:
        from facedistill.core.params import load_params

        getattr(import_module(f"facedistill.pipeline.{stage}"), stage)(load_params(), *names)

    def run_all() -> None:
        run()

    def run_one(name: Annotated[str, typer.Argument(help=f"The {named}, as in params.yaml.")]) -> None:
        run(name)

    app.command(stage, help=help, rich_help_panel=REPRODUCE)(run_one if named else run_all)


for _stage, (_help, _named) in STAGES.items():
    _add_stage(_stage, _help, _named)


@app.command(rich_help_panel=REPRODUCE)
def head(
    source: Annotated[Path, typer.Argument(metavar="GLB", help="ICT-FaceKit's head, with its 24,953 vertices.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to; else data/face.")] = HEAD.parent,
) -> None:
    """Make the built-in head anew from ICT-FaceKit's: face.glb, and face-light.glb with fewer vertices."""
    from facedistill.repro.head import make_heads

    make_heads(source, out)


@app.command(rich_help_panel=REPRODUCE)
def web() -> None:
    """Bundle the page on which released models run in the browser: web/dist."""
    from facedistill.repro.web import web as run

    print(f"{run()}: serve it, as `python -m http.server --directory web/dist` does")


@app.command(rich_help_panel=REPRODUCE)
def release() -> None:
    """Copy what was exported, as far as it is small, to models/, with model cards and checksums."""
    from facedistill.repro.release import release as run

    for folder, files in run().items():
        print(f"{folder}: {', '.join(path.name for path in files)}")


@app.command(rich_help_panel=REPRODUCE)
def benchmark(draw: Annotated[bool, typer.Option("--draw", help="Only draw table 6 and figure 11 anew.")] = False) -> None:
    """Measure every model and every installed tool on recordings with timed phones and measured lips: benchmarks/real_speech."""
    from facedistill.core.params import load_params
    from facedistill.figures import recordings

    if not draw:
        from facedistill.repro.benchmark import benchmark as run

        run(load_params())
    recordings.draw()


@app.command(rich_help_panel=REPRODUCE)
def notebook(
    names: Annotated[list[str], typer.Argument(metavar="STEM...", help="Stems of notebooks/, or paths that end in .ipynb.")],
    normalize: Annotated[bool, typer.Option("--normalize", help="Only rewrite the sources in canonical form.")] = False,
) -> None:
    """Run notebooks strictly; the executed copies go to notebooks/executed."""
    # jsonschema, under nbformat, would parse a grammar of IRIs for two seconds; notebooks have none to check.
    sys.modules.setdefault("rfc3987_syntax", None)
    from facedistill.core.paths import NOTEBOOKS
    from facedistill.repro import notebooks

    if normalize:
        for name in names:
            notebooks.normalize(Path(name) if name.endswith(".ipynb") else NOTEBOOKS / f"{name}.ipynb")
        return
    from facedistill.core.params import load_params

    params = load_params()
    for name in names:
        notebooks.run_notebook(Path(name).stem if name.endswith(".ipynb") else name, params)


@app.command(rich_help_panel=REPRODUCE)
def fill() -> None:
    """Write the measured numbers into README and other texts, and tell which changed."""
    from facedistill.repro.fill import fill as run

    for line in run() or ["fill: no number changed"]:
        print(line)


@app.command(rich_help_panel=REPRODUCE)
def verify(
    accept: Annotated[bool, typer.Option("--accept", help="Make the numbers of this run the expected ones instead.")] = False,
) -> None:
    """Compare this run with the committed one: numbers within tolerances, outputs byte for byte."""
    from facedistill.repro import verify as module

    if accept:
        module.accept()
    elif not module.verify():
        raise typer.Exit(FAILED)


@app.command(rich_help_panel=REPRODUCE)
def site() -> None:
    """Make static pages of the executed notebooks, in site/."""
    from facedistill.repro.site import site as run

    print(f"site: {len(run())} pages; open site/index.html")


def _gain(text: str) -> tuple[str, float]:
    """ "jawOpen=1.2" -> name, in the spelling of ARKit, and factor."""
    from facedistill.formats.animation import canonical

    name, _, factor = text.partition("=")
    try:
        value = float(factor)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise InputError(f"--gain {text}; expected CURVE=FACTOR with a factor from 0 to 100, jawOpen=1.2 say")
    return canonical(name), value


def _subject(text: str) -> str:
    if not text.isprintable() or not 1 <= len(text) <= MAX_SUBJECT:
        raise InputError(f"--subject {text[:MAX_SUBJECT]!r}; expected 1 to {MAX_SUBJECT} letters that can be printed")
    return text


def _address(text: str) -> tuple[str, int]:
    """ "HOST:PORT"; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise InputError(f"--target {text}; expected HOST:PORT with a port from 1 to 65535, 127.0.0.1:11111 say")
    return host.removeprefix("[").removesuffix("]"), int(port)
