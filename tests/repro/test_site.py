"""Static pages of executed notebooks."""

import re

import nbformat
import numpy as np
import pytest
from IPython.display import Audio
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from facedistill.core.errors import InputError
from facedistill.repro.texts import site


def test_pages_have_what_was_shown_and_the_index_leads_to_them(tmp_path, capsys):
    sound = Audio(np.sin(np.arange(1600) / 5), rate=16_000)._repr_html_()
    cells = [
        new_markdown_cell("# Figure 1: a sound\n\n**Question.** Can it be heard?\n\n**Answer.** Yes."),
        new_code_cell("play()", outputs=[new_output("display_data", data={"text/html": sound})]),
    ]
    (tmp_path / "executed").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "executed" / "fig1_sound.ipynb")
    site(tmp_path / "executed", tmp_path / "site")
    assert capsys.readouterr().out == "site: 2 pages; open site/index.html\n"
    page, index = (path.read_text() for path in sorted((tmp_path / "site").iterdir()))
    assert "<audio" in page and "data:audio/wav;base64," in page and "<title>Figure 1: a sound</title>" in page
    assert not re.search(r"""(src|href)=["']?https?:""", page), "needs the network"
    assert 'href="fig1_sound.html">Figure 1: a sound</a>' in index and "Can it be heard?" in index


def test_pages_are_in_the_order_of_their_numbers(tmp_path):
    names = ["00_start", "10_corpus", "fig1_corpus", "fig9_closures", "fig10_faces", "tab1_main", "tab10_more"]
    for name in reversed(names):
        nbformat.write(new_notebook(cells=[new_markdown_cell(f"# {name}")]), tmp_path / f"{name}.ipynb")
    site(tmp_path, tmp_path / "site")
    assert {page.stem for page in (tmp_path / "site").iterdir()} == {*names, "index"}
    assert re.findall(r'href="(\w+).html"', (tmp_path / "site" / "index.html").read_text()) == names


def test_without_executed_notebooks_it_is_one_line(tmp_path):
    with pytest.raises(InputError, match="no executed notebooks; run `make repro` first"):
        site(tmp_path, tmp_path / "site")
