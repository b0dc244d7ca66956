"""Commands `fill` and `site`: measured numbers in the texts of the project, and the executed notebooks as pages.

A number stands between two comments, of which the page shows nothing: `<!--=table-1/on-device/pbm-->0.98<!--/-->`. Such a comment
may stand in a paragraph or a table, but begins no line of theirs, where Markdown would end them; alone on its line it may.
"""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from nbconvert import HTMLExporter

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_text
from facedistill.core.paths import EXECUTED, FIGURES, ROOT
from facedistill.figures.kept_numbers import kept_numbers
from facedistill.repro.notebooks import read_notebook

TEXTS = ("README.md", "benchmarks/*/README.md", "examples/*/README.md", "figures/*/README.md")
NUMBERS = FIGURES / "numbers.json"
MARKER = re.compile(r"<!--(?:=|/-->)")
MARKED = re.compile(r"(<!--=([^<>\n]+)-->\s*)((?:(?!<!--).)*?)(\s*<!--/-->)", re.DOTALL)
SITE = ROOT / "site"
QUESTION = "**Question.**"  # begins the line of a first cell that the index repeats
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


def fill() -> None:
    """Writes the numbers anew in all texts that have others, and prints a line for each; nothing is written if one fails."""
    numbers, done = known_numbers(), {}
    for path in (path for pattern in TEXTS for path in sorted(ROOT.glob(pattern))):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read ({error}); expected Markdown in UTF-8") from None
        done[path] = filled(text, numbers, path.relative_to(ROOT).as_posix())
    for path, (text, changes) in done.items():
        if changes:
            write_text(path, text)
    print(*[change for _, changes in done.values() for change in changes] or ["fill: no number changed"], sep="\n")


def known_numbers() -> dict[str, str]:
    """{name: text} of every number that a text may quote; InputError if a file of numbers is missing or broken."""
    try:
        measured = {name: number["text"] for name, number in read_json(NUMBERS).items()}
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{NUMBERS}: not what `dvc repro 90_numbers` writes ({error!r}); run it again") from None
    return measured | kept_numbers()


def filled(text: str, numbers: Mapping[str, str], source: str) -> tuple[str, list[str]]:
    """A Markdown text with these numbers, {name: text}, between its markers, and a line for each that changed."""
    changes = []

    def anew(found: re.Match) -> str:
        begin, name, old, end = found.groups()
        if name not in numbers:
            nearest = difflib.get_close_matches(name, numbers, 1, cutoff=0.0)
            raise InputError(f"{source}: no number is called {name}; expected {nearest[0]}")
        if old != numbers[name]:
            changes.append(f"{source}: {name}: {' '.join(old.split())} -> {numbers[name]}")
        return f"{begin}{numbers[name]}{end}"

    rest = MARKED.sub(lambda found: "\n" * found[0].count("\n"), text)
    if stray := MARKER.search(rest):
        line = rest.count("\n", 0, stray.start()) + 1
        raise InputError(f"{source}: line {line}: a marker without its partner; expected <!--=name-->number<!--/-->")
    return MARKED.sub(anew, text), changes


def site(executed: Path = EXECUTED, out: Path = SITE) -> None:
    """Writes a page for every executed notebook, and an index, and prints how many pages there are."""
    sources = sorted(executed.glob("*.ipynb"), key=_by_number)
    if not sources:
        raise InputError(f"{executed}: no executed notebooks; run `make repro` first")
    exporter = HTMLExporter(template_name="lab", require_js_url=NOTHING, mathjax_url=NOTHING)
    entries = []
    for source in sources:
        notebook = read_notebook(source)
        title, *rest = filter(str.strip, notebook.cells[0].source.splitlines())
        notebook.metadata["title"] = title = title.lstrip("# ")
        questions = (line.removeprefix(QUESTION).strip() for line in rest if line.startswith(QUESTION))
        entries.append(f'<dt><a href="{source.stem}.html">{title}</a></dt><dd>{next(questions, "")}</dd>')
        write_text(out / f"{source.stem}.html", exporter.from_notebook_node(notebook)[0])
    write_text(out / "index.html", PAGE.format(entries="\n".join(entries)))
    print(f"site: {len(sources) + 1} pages; open site/index.html")


def _by_number(path: Path) -> list[str | int]:
    """What sorts figure 10 after figure 9: a name with its numbers as such."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.stem)]
