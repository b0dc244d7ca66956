"""The notebook runner: papermill, but strict, and with outputs that are the same bytes on every run.

Plain papermill uses the defaults in silence when the `parameters` tag is missing or a parameter is misspelt, and its
executed copies carry times, host paths and random ids. Source notebooks are committed in one canonical form without
outputs; executed copies go to `notebooks/executed`.
"""

import ast
import copy
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

import matplotlib.font_manager
import nbformat
import papermill
from nbformat import NotebookNode
from traitlets.config import Config

from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.core.paths import ROOT

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
KERNEL_START_S = 300
# Other users of the machine cannot read along, and the kernel does not warn that they could.
KERNEL_CONFIG = Config(KernelManager={"transport_encryption": "auto"})
# Run by each kernel: it ends, and removes its folder, once the process that began it was killed. Its own watch takes seconds.
FOLLOW = """
def _follow():
    import os, shutil, time
    while os.getppid() == int(os.environ["JPY_PARENT_PID"]):
        time.sleep(0.2)
    shutil.rmtree(os.environ["IPYTHONDIR"], ignore_errors=True)
    os._exit(1)
__import__("threading").Thread(target=_follow, daemon=True).start()
del _follow
"""
STREAMS = ("stdout", "stderr")
# What differs between two runs or two machines inside the text of an output.
UNSTABLE = [
    # From the start of a word only: sound is one word of megabytes, and must not be searched from each of its letters.
    (re.compile(r"(?<!\S)\S*/ipykernel_\d+/\d+\.py"), "cell"),
    (re.compile(r"\b0x[0-9a-f]{6,}\b"), "0x0"),
    (re.compile(re.escape(f"{ROOT}{os.sep}")), ""),
    (re.compile(re.escape(f"{sys.prefix}{os.sep}")), ""),
]


def execute(source: Path, output: Path, values: dict[str, object]) -> None:
    """Executes a canonical notebook and writes the normalised copy atomically.

    Args:
        source: the notebook; it is not changed.
        output: the executed copy; an old one is removed first, so that an error leaves none.
        values: typed values for names of the `parameters` cell; the others keep their defaults.

    Raises:
        InputError: the notebook is missing, not canonical, has not exactly one `parameters` cell of literals or no such
            parameter, a value has another type than the default, or a cell failed.
    """
    output.unlink(missing_ok=True)
    if serialize(read_notebook(source)) != source.read_text(encoding="utf-8"):
        raise InputError(f"{source}: not canonical; run: facedistill notebook --normalize {source}")
    _check_values(source, read_defaults(source), values)
    # The first use of fonts on a machine builds a cache and says so: here, not in the first notebook's output.
    matplotlib.font_manager.findfont("DejaVu Sans")
    write_text(output, serialize(_run(source, values), keep_outputs=True))


def normalize(path: Path) -> bool:
    """Rewrites a source notebook in canonical form, see `serialize`; returns whether the file changed.

    Raises:
        InputError: the file is missing or is not a notebook.
    """
    text = serialize(read_notebook(path))
    if text == path.read_text(encoding="utf-8"):
        return False
    write_text(path, text)
    return True


def read_notebook(path: Path) -> NotebookNode:
    """Reads a notebook of any version as version 4.

    Raises:
        InputError: the file is missing or is not a notebook.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such notebook")
    try:
        return nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (OSError, ValueError, TypeError, AttributeError, KeyError, nbformat.ValidationError) as error:
        raise InputError(f"{path}: cannot be read as a notebook ({_first_line(str(error))})") from None


def read_defaults(path: Path) -> dict[str, object]:
    """Reads the names and literal defaults of the one cell tagged `parameters`.

    Raises:
        InputError: there is not exactly one such cell, or it holds more than `name = literal` lines.
    """
    cells = [cell for cell in read_notebook(path).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1 or cells[0].cell_type != "code":
        raise InputError(f"{path}: {len(cells)} cells are tagged `parameters`; exactly one code cell must be")
    defaults = {}
    try:
        for statement in ast.parse(cells[0].source).body:
            (name,) = statement.targets
            defaults[name.id] = ast.literal_eval(statement.value)
    except (SyntaxError, ValueError, AttributeError):
        raise InputError(f"{path}: the `parameters` cell may hold only lines `name = literal`") from None
    return defaults


def serialize(notebook: NotebookNode, *, keep_outputs: bool = False) -> str:
    """Renders a notebook of version 4 as canonical JSON, a fixed point: no outputs, counts or extra metadata, ids by position.

    Args:
        keep_outputs: keep execution counts and outputs, without what differs between two runs.
    """
    result = nbformat.v4.new_notebook(metadata=copy.deepcopy(METADATA))
    for number, cell in enumerate(notebook.cells, start=1):
        tags = sorted(cell.metadata.get("tags", []))
        clean = NotebookNode(
            id=f"cell-{number:02d}",
            cell_type=cell.cell_type,
            metadata={"tags": tags} if tags else {},
            source="\n".join(line.rstrip() for line in cell.source.strip("\n").split("\n")),
        )
        if cell.cell_type == "code":
            clean.execution_count = cell.execution_count if keep_outputs else None
            clean.outputs = _stable_outputs(cell.outputs) if keep_outputs else []
        result.cells.append(clean)
    return nbformat.writes(result, version=4).rstrip("\n") + "\n"


def _check_values(path: Path, defaults: dict[str, object], values: dict[str, object]) -> None:
    """Refuses a value without a parameter, or of another type; an integer may stand for a float."""
    for name, value in values.items():
        if name not in defaults:
            raise InputError(f"{path}: no parameter `{name}` (params.yaml, notebooks.{path.stem}); it has {', '.join(defaults)}")
        allowed = (int, float) if type(defaults[name]) is float else (type(defaults[name]),)
        if type(value) not in allowed:
            raise InputError(f"{path}: parameter `{name}` = {value!r} must be {allowed[-1].__name__}, not {type(value).__name__}")


def _run(source: Path, values: dict[str, object]) -> NotebookNode:
    """Runs a notebook in a fresh kernel of this interpreter; returns it with its outputs."""
    with _kernel_environment() as folder:
        try:
            notebook = papermill.execute_notebook(
                str(source.resolve()),
                str(folder / "executed.ipynb"),
                parameters=values,
                kernel_name="python3",
                progress_bar=False,
                start_timeout=KERNEL_START_S,
                config=KERNEL_CONFIG,
                shutdown_kernel="immediate",  # its cells have run; one that is asked to leave may report an interrupt
                cwd=str(source.resolve().parent),
            )
        except papermill.PapermillExecutionError as error:
            name = _cell_name(source, error.cell_index, injected=bool(values))
            raise InputError(f"{source}: {name}: {error.ename}: {_first_line(error.evalue)}") from None
        except (papermill.exceptions.PapermillException, RuntimeError, TimeoutError) as error:
            raise InputError(f"{source}: the kernel failed: {type(error).__name__}: {_first_line(str(error))}") from None
    for index, cell in enumerate(notebook.cells):
        # Papermill takes a cell that calls `sys.exit(0)` for a success, and does not run the rest.
        if any(output.output_type == "error" for output in cell.get("outputs", [])):
            raise InputError(f"{source}: {_cell_name(source, index, injected=bool(values))}: ended the notebook early")
    return notebook


def _cell_name(source: Path, index: int, *, injected: bool) -> str:
    """The name in the source, where cells are counted from 1, of the cell at `index` of the executed copy."""
    tagged = ["parameters" in cell.metadata.get("tags", []) for cell in read_notebook(source).cells]
    # The cell with the given values stands after the one with the defaults.
    return f"cell-{index + 1 - (injected and index > tagged.index(True)):02d}"


def _first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "no message")


@contextmanager
def _kernel_environment() -> Iterator[Path]:
    """Sets, for a kernel started within, what makes it silent and repeatable, and Jupyter's folders to a temporary one, given."""
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="facedistill-notebook-") as folder:
        startup = Path(folder) / "profile_default" / "startup"
        startup.mkdir(parents=True)
        (startup / "end.py").write_text(FOLLOW)
        os.environ.update(
            SOURCE_DATE_EPOCH="0",
            MPLBACKEND="Agg",
            PYTHONHASHSEED="0",
            TQDM_DISABLE="1",
            PYDEVD_DISABLE_FILE_VALIDATION="1",
            # A user's kernel specification or start-up files must not take part, nor must the home folder be writable.
            **{name: folder for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")},
            PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT / "src"), before.get("PYTHONPATH")])),
        )
        os.environ.pop("JUPYTER_PATH", None)
        try:
            yield Path(folder)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _stable_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs without what differs between two runs: how text was cut into messages, addresses, paths."""
    stable: list[NotebookNode] = []
    for streams, run in groupby(copy.deepcopy(outputs), key=lambda output: output.output_type == "stream"):
        if streams:  # the two race with each other: standard output first, as one text each
            texts: dict[str, str] = {}
            for output in run:
                texts[output.name] = texts.get(output.name, "") + _scrub(output.text)
            stable += [nbformat.v4.new_output("stream", name=name, text=texts[name]) for name in STREAMS if name in texts]
            continue
        for output in run:
            output.metadata = {}
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    output.data[kind] = _scrub(value)
            stable.append(output)
    return stable


def _scrub(text: str) -> str:
    for pattern, replacement in UNSTABLE:
        text = pattern.sub(replacement, text)
    return text
