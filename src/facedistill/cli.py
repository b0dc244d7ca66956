"""The command line: commands that use a model, and commands that make models, one for each stage of the pipeline.

Every command imports its module itself: torch takes seconds, and `--help` must not. An `InputError` becomes one line on standard
error and exit code 2.
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.exceptions

from facedistill import STAGES
from facedistill.core.errors import InputError
from facedistill.core.messages import print_error, show_notes
from facedistill.core.paths import DURATION_NOTES, HEAD, ROOT
from facedistill.core.processes import end_cleanly

FAILED, BAD_INPUT = 1, 2
NO_LIBRARY = "cannot open shared object file"
MAX_SUBJECT = 64
PAGES = (".html", ".htm")
N_DRAWS = 1000  # of the bootstrap of a study
FORMATS = ("livelink", "a2f", "a2f-csv", "beat", "csv", "json", "npz", "glb")
Format = Literal[FORMATS]
USE, REPRODUCE = "Use a model", "Make models (stages of the pipeline, in order)"
EXTRAS = {"render": "film", "study": "study"}  # what commands need beside the core; all others: train
TIMED = ({*STAGES} - {"check"}) | {"notebook"}  # commands of whose runs it is noted how long they took
# command, a function that tells itself what it did -> (its module, what it does, what it makes one of)
TOOLS = {
    "web": ("repro.web", "Bundle the page on which released models run in the browser: web/dist.", None),
    "release": ("repro.release", "Copy what was exported, as far as it is small, to models/, with cards and checksums.", None),
    "fill": ("repro.texts", "Write the measured numbers into README and other texts, and tell which changed.", None),
    "site": ("repro.texts", "Make static pages of the executed notebooks, in site/.", None),
}
app = typer.Typer(
    name="facedistill",
    help="Tiny speech-driven facial animation models, distilled from a HuBERT teacher: sound in, ARKit curves out.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
study = typer.Typer(help="A user study of pairwise comparisons: build its page, analyse its answers.")
app.add_typer(study, name="study", rich_help_panel=USE)

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


def record_duration(name: str, seconds: float) -> None:
    """Notes how long a stage took; a note that cannot be written is told, and is no failure of the stage."""
    try:
        DURATION_NOTES.parent.mkdir(parents=True, exist_ok=True)
        if DURATION_NOTES.exists() and not DURATION_NOTES.is_file():  # a pipe would never be read
            raise OSError("it is no file")
        with DURATION_NOTES.open("ab", buffering=0) as file:  # one write at the end: lines of several processes stay whole
            file.write(b"\n" + json.dumps({"name": name, "seconds": round(float(seconds), 1)}).encode())
    except OSError as error:
        reason = error.strerror or error
        logging.getLogger(__name__).warning("%s: cannot note how long %s took (%s)", DURATION_NOTES, name, reason)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Print the version, and no more.")] = False) -> None:
    if version:
        from importlib import metadata

        print(f"facedistill {metadata.version('facedistill')}")
        raise typer.Exit


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
    gain: Annotated[list[str], typer.Option(metavar="CURVE=FACTOR", help="Scale a curve; repeatable.")] = (),
    face: Face = None,
    workers: Annotated[int, typer.Option(min=1, help="Recordings at a time.")] = os.cpu_count() or 1,
) -> None:
    """Turn recordings into files of ARKit curves; goes on past a bad recording."""
    from facedistill.app.animate import Settings, animate_batch
    from facedistill.runtime import find_model

    if face is not None and format != "glb":
        raise InputError(f"--face {face}: only for --format glb")
    gains, eyes = dict(map(_gain, gain)), seed if blinks else None
    settings = Settings(find_model(model), int(fps), ensemble=ensemble, blinks=eyes, gains=gains, kind=format, face=face)
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


@study.command("build")
def build_study(
    systems: Annotated[
        list[str], typer.Argument(metavar="NAME=FOLDER...", help="Rendered clips; the same names in every folder.")
    ],
    out: Annotated[str, typer.Option("--out", "-o", metavar="PAGE.html", help="One file with everything in it.")],
    sheets: Annotated[int, typer.Option(help="Different lists of comparisons; ?sheet=N gives a rater the N-th.")] = 24,
    trials: Annotated[int, typer.Option(help="Comparisons in each.")] = 20,
    checks: Annotated[int, typer.Option(help="Attention checks among them.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of which clips, sides and order.")] = 1,
    question: Annotated[str | None, typer.Option(help="What raters are asked.")] = None,
) -> None:
    """Make the page that raters see; it works without a server, and on a phone."""
    from facedistill.study.page import build

    folders = {name: Path(folder) for name, _, folder in (system.partition("=") for system in systems) if name and folder}
    if len(folders) != len(systems):
        raise InputError(f"{' '.join(systems)}; expected NAME=FOLDER, each name once")
    if not out.lower().endswith(PAGES) or Path(out).is_dir():  # a Path does not know that it ended in a slash
        raise InputError(f"{out}: cannot be a page; expected a file that ends in {PAGES[0]}")
    n_sentences = build(folders, Path(out), n_sheets=sheets, n_trials=trials, n_checks=checks, seed=seed, question=question)
    about = f"{len(folders)} systems, {n_sentences} sentences, {sheets} sheets of {trials} comparisons"
    print(f"study: {about}: {out}", file=sys.stderr)


@study.command("analyse")
def analyse_study(
    answers: Annotated[list[Path], typer.Argument(metavar="ANSWERS.csv...", help="What raters downloaded.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 1,
) -> None:
    """Print what raters preferred, with 95 % intervals over raters, and the ranking."""
    from facedistill.study.analysis import as_markdown, attentive, preferences, ranking, read_answers, summary

    read = read_answers(answers)
    kept = attentive(read)
    if kept.empty:
        raise InputError(f"{len(answers)} files: no comparison by a rater who passed all checks; expected at least one")
    print(summary(read), "\n")
    print(as_markdown(ranking(kept, n_draws=N_DRAWS, seed=seed), n_digits=2), "\n")
    print(as_markdown(preferences(kept, n_draws=N_DRAWS, seed=seed), n_digits=3))


@app.command(rich_help_panel=REPRODUCE)
def config(
    name: Annotated[str, typer.Argument(metavar="NAME|PATH", help="A file of configs/ by its name, or one that ends in .yaml.")],
) -> None:
    """Print a whole params.yaml: the default with what a configuration changes in it."""
    from facedistill.repro.config import config as run

    print(run(name), end="")


def _command(name: str, module: str, named: str | None) -> Callable[..., None]:
    """Calls `facedistill.<module>.<name>`, a stage with the parameters; `named` is what it makes one of, if it does."""

    def run(*names: str) -> None:
        from facedistill.core.params import load_params

        params = [load_params()] if name in STAGES else []
        getattr(import_module(f"facedistill.{module}"), name)(*params, *names)

    def run_one(name: Annotated[str, typer.Argument(help=f"The {named}, as in params.yaml.")]) -> None:
        run(name)

    return run_one if named else lambda: run()


_stages = {name: (f"pipeline.{name}", *about) for name, about in STAGES.items()}
for _name, (_module, _help, _named) in (_stages | TOOLS).items():
    app.command(_name, help=_help, rich_help_panel=REPRODUCE)(_command(_name, _module, _named))


@app.command(rich_help_panel=REPRODUCE)
def head(
    source: Annotated[Path, typer.Argument(metavar="GLB", help="ICT-FaceKit's head, with its 24,953 vertices.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where to; else data/face.")] = HEAD.parent,
) -> None:
    """Make the built-in head anew from ICT-FaceKit's: face.glb, and face-light.glb with fewer vertices."""
    from facedistill.repro.head import make_heads

    make_heads(source, out)


@app.command(rich_help_panel=REPRODUCE)
def benchmark(draw: Annotated[bool, typer.Option("--draw", help="Only draw table 6 and figure 11 anew.")] = False) -> None:
    """Measure every model and every installed tool on recordings with timed phones and measured lips: benchmarks/real_speech."""
    from facedistill.core.params import load_params
    from facedistill.figures.recordings import draw as draw_results
    from facedistill.repro.benchmark import benchmark as run

    if not draw:
        run(load_params())
    draw_results()


@app.command(rich_help_panel=REPRODUCE)
def notebook(
    names: Annotated[list[str], typer.Argument(metavar="STEM...", help="Stems of notebooks/, or paths that end in .ipynb.")],
    normalize: Annotated[bool, typer.Option("--normalize", help="Only rewrite the sources in canonical form.")] = False,
) -> None:
    """Run notebooks strictly; the executed copies go to notebooks/executed."""
    # jsonschema, under nbformat, would parse a grammar of IRIs for two seconds; notebooks have none to check.
    sys.modules.setdefault("rfc3987_syntax", None)
    from facedistill.core.params import load_params
    from facedistill.core.paths import EXECUTED, NOTEBOOKS
    from facedistill.repro import notebooks

    paths = [Path(name) if name.endswith(".ipynb") else NOTEBOOKS / f"{name}.ipynb" for name in names]
    values = None if normalize else load_params().notebooks
    for path in paths:
        if normalize:
            notebooks.normalize(path)
        else:
            notebooks.execute(NOTEBOOKS / path.name, EXECUTED / path.name, values.get(path.stem, {}))


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
