"""The executed notebooks as static pages, with an index: what a reader browses without running anything."""

import re
from pathlib import Path

from nbconvert import HTMLExporter

from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.core.paths import EXECUTED, ROOT
from facedistill.repro.notebooks import read_notebook

SITE = ROOT / "site"
NOTHING = "data:,"  # in place of scripts from the network, which no page here needs
PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>facedistill</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
dt {{ margin-top: 1rem; font-weight: 600 }} dd {{ margin: 0; color: #555 }}
</style></head>
<body><h1>facedistill: the notebooks, as they were run</h1><dl>
{entries}
</dl></body></html>
"""


def site(executed: Path = EXECUTED, out: Path = SITE) -> list[Path]:
    """Writes a page for every executed notebook, and an index.

    Returns:
        The pages, the index last.

    Raises:
        InputError: nothing was executed yet, or a file is no notebook.
    """
    sources = sorted(executed.glob("*.ipynb"), key=_by_number)
    if not sources:
        raise InputError(f"{executed}: no executed notebooks; run `make repro` first")
    exporter = HTMLExporter(template_name="lab", require_js_url=NOTHING, mathjax_url=NOTHING)
    pages, entries = [], []
    for source in sources:
        notebook = read_notebook(source)
        title, question = _told(notebook.cells[0].source)
        notebook.metadata["title"] = title
        pages.append(out / f"{source.stem}.html")
        write_text(pages[-1], exporter.from_notebook_node(notebook)[0])
        entries.append(f'<dt><a href="{source.stem}.html">{title}</a></dt><dd>{question}</dd>')
    pages.append(out / "index.html")
    write_text(pages[-1], PAGE.format(entries="\n".join(entries)))
    return pages


def _by_number(path: Path) -> list[str | int]:
    """What sorts figure 10 after figure 9: a name with its numbers as such."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.stem)]


def _told(text: str) -> tuple[str, str]:
    """The title of a notebook's first cell, and the question under it."""
    title, *rest = (line for line in text.splitlines() if line.strip())
    question = next((line for line in rest if line.startswith("**Question.**")), "")
    return title.lstrip("# "), question.removeprefix("**Question.**").strip()
