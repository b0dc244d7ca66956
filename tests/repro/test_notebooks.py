"""The notebook runner refuses what papermill lets pass, and writes the same bytes on every run."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.repro import notebooks


def write_notebook(path: Path, *sources: str, parameters: str | None = "n = 2\nflag = True\nratio = 0.5\nname = 'x'") -> Path:
    """Writes a canonical notebook: a title, the parameters cell, then one code cell a source."""
    cells = [nbformat.v4.new_markdown_cell("# A title")]
    if parameters is not None:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [nbformat.v4.new_code_cell(source) for source in sources]
    path.write_text(notebooks.serialize(nbformat.v4.new_notebook(cells=cells)), encoding="utf-8")
    return path


def outputs(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_two_runs_are_byte_identical(tmp_path: Path):
    noisy = (
        "import sys, time, warnings\n"
        "for number in range(5):\n    print(number, flush=True); time.sleep(0.02)\n"
        "    print('err', number, file=sys.stderr, flush=True)\n"
        "warnings.warn('careful')\nprint(object(), {'b', 'a', 'c'})\nobject()"
    )
    show = "from IPython.display import Image\nImage(data=b'\\x89PNG\\r\\n\\x1a\\n', format='png')"
    source = write_notebook(tmp_path / "fig0.ipynb", noisy, show)
    before = source.read_bytes()
    copies = [tmp_path / "executed" / f"{number}.ipynb" for number in range(2)]
    for copy in copies:
        notebooks.execute(source, copy, {"n": 3})
    assert copies[0].read_bytes() == copies[1].read_bytes()
    assert source.read_bytes() == before
    text = copies[0].read_text()
    executed = json.loads(text)
    assert [cell["id"] for cell in executed["cells"]] == [f"cell-{number:02d}" for number in range(1, 6)]
    assert executed["metadata"] == notebooks.METADATA
    assert all(set(cell["metadata"]) <= {"tags"} for cell in executed["cells"])
    assert "image/png" in text and "careful" in text and str(tmp_path) not in text


def test_values_keep_their_types_and_the_kernel_is_quiet(tmp_path: Path):
    look = (
        "import os\nprint(n, flag is False, ratio, repr(name))\n"
        "print(os.environ['SOURCE_DATE_EPOCH'], os.environ['MPLBACKEND'], os.environ['TQDM_DISABLE'])"
    )
    source = write_notebook(tmp_path / "fig0.ipynb", look)
    environment = dict(os.environ)
    notebooks.execute(source, tmp_path / "out.ipynb", {"flag": False, "ratio": 1, "name": "it's"})
    assert outputs(tmp_path / "out.ipynb") == '2 True 1 "it\'s"\n0 Agg 1\n'
    assert dict(os.environ) == environment


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["x = n", "raise ValueError('no such\\nthing')", "print(1)"], "cell-04: ValueError: no such"),
        (["import sys; sys.exit(0)", "print(1)"], "cell-03: ended the notebook early"),
    ],
)
def test_a_failing_cell_is_one_line_and_no_output(tmp_path: Path, sources: list[str], message: str):
    source = write_notebook(tmp_path / "fig0.ipynb", *sources)
    output = tmp_path / "executed" / "fig0.ipynb"
    output.parent.mkdir()
    output.write_text("an older run")
    with pytest.raises(InputError) as caught:
        notebooks.execute(source, output, {"n": 3})
    assert str(caught.value) == f"{source}: {message}"
    assert list(output.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"m": 3}, "no parameter `m`"),
        ({"flag": "false"}, "`flag` = 'false' must be bool, not str"),
        ({"flag": 0}, "`flag` = 0 must be bool, not int"),
        ({"n": True}, "`n` = True must be int, not bool"),
        ({"n": 2.0}, "`n` = 2.0 must be int, not float"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, values: dict, message: str):
    source = write_notebook(tmp_path / "fig0.ipynb", "print(1)")
    with pytest.raises(InputError, match=message):
        notebooks.execute(source, tmp_path / "out.ipynb", values)


@pytest.mark.parametrize(
    ("parameters", "message"), [(None, "0 cells"), ("n = 1 + abs(2)", "literal"), ("import os", "literal"), ("n = (", "literal")]
)
def test_a_parameters_cell_must_be_one_and_literal(tmp_path: Path, parameters: str | None, message: str):
    source = write_notebook(tmp_path / "fig0.ipynb", "print(1)", parameters=parameters)
    with pytest.raises(InputError, match=message):
        notebooks.execute(source, tmp_path / "out.ipynb", {})


def test_two_parameters_cells_are_refused(tmp_path: Path):
    cells = [nbformat.v4.new_code_cell("n = 1", metadata={"tags": ["parameters"]}) for _ in range(2)]
    source = tmp_path / "fig0.ipynb"
    source.write_text(notebooks.serialize(nbformat.v4.new_notebook(cells=cells)))
    with pytest.raises(InputError, match="2 cells"):
        notebooks.execute(source, tmp_path / "out.ipynb", {})


def test_a_source_with_outputs_is_refused_until_normalized(tmp_path: Path):
    source = write_notebook(tmp_path / "fig0.ipynb", "print(1)")
    canonical = source.read_text()
    notebook = nbformat.read(source, as_version=4)
    notebook.cells[2].outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    notebook.cells[2].metadata["editable"] = True
    notebook.metadata["language_info"]["version"] = "3.11.0"
    nbformat.write(notebook, source)
    with pytest.raises(InputError, match="not canonical"):
        notebooks.execute(source, tmp_path / "out.ipynb", {})
    assert notebooks.normalize(source)
    assert source.read_text() == canonical
    assert not notebooks.normalize(source)


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"cells": 3}'])
def test_what_is_not_a_notebook_is_refused(tmp_path: Path, content: str):
    source = tmp_path / "fig0.ipynb"
    with pytest.raises(InputError, match="no such notebook"):
        notebooks.normalize(source)
    source.write_text(content)
    with pytest.raises(InputError, match="cannot be read as a notebook"):
        notebooks.normalize(source)


def test_how_text_was_cut_into_messages_does_not_show():
    def executed(*messages: tuple[str, str]) -> str:
        streams = [nbformat.v4.new_output("stream", name=name, text=text) for name, text in messages]
        shown = nbformat.v4.new_output("display_data", {"text/plain": "<Axes at 0x7f00deadbeef>"})
        cell = nbformat.v4.new_code_cell("print()", outputs=[*streams, shown, streams[0]])
        return notebooks.serialize(nbformat.v4.new_notebook(cells=[cell]), keep_outputs=True)

    whole = executed(("stdout", "one\ntwo\n"), ("stderr", "careful\n"))
    cut = executed(("stderr", "care"), ("stdout", "one\n"), ("stderr", "ful\n"), ("stdout", "two\n"))
    assert json.loads(whole)["cells"][0]["outputs"][:3] == json.loads(cut)["cells"][0]["outputs"][:3]
    assert [output["output_type"] for output in json.loads(whole)["cells"][0]["outputs"]] == ["stream"] * 2 + [
        "display_data",
        "stream",
    ]


@given(st.lists(st.tuples(st.booleans(), st.text(st.characters(exclude_categories=["Cs"]))), max_size=4))
def test_normalizing_is_a_fixed_point(cells: list[tuple[bool, str]]):
    make = {True: nbformat.v4.new_code_cell, False: nbformat.v4.new_markdown_cell}
    once = notebooks.serialize(nbformat.v4.new_notebook(cells=[make[is_code](text) for is_code, text in cells]))
    assert notebooks.serialize(nbformat.reads(once, as_version=4)) == once


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_kernel_ends_with_the_process_that_began_it(tmp_path: Path):
    code = "import pathlib, time\npathlib.Path('running').touch()\ntime.sleep(60)"
    write_notebook(tmp_path / "long.ipynb", code)
    program = "import sys, pathlib, facedistill.repro.notebooks as n; n.execute(*map(pathlib.Path, sys.argv[1:]), {})"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    arguments = [sys.executable, "-c", program, "long.ipynb", "executed.ipynb"]
    parent = subprocess.Popen(arguments, cwd=tmp_path, env={**os.environ, "TMPDIR": str(scratch)})
    for _ in range(1200):
        if (tmp_path / "running").exists():
            break
        assert parent.poll() is None
        time.sleep(0.05)
    children = psutil.Process(parent.pid).children(recursive=True)
    assert children
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, timeout=2)
    alive = [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    for process in alive:
        process.kill()
    assert not alive and not list(scratch.glob("facedistill-*"))
