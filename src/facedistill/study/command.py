"""The commands `study build` and `study analyse`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from facedistill.core.errors import InputError

PAGES = (".html", ".htm")
N_DRAWS = 1000  # of the bootstrap
app = typer.Typer(help="A user study of pairwise comparisons: build its page, analyse its answers.")


@app.command("build")
def build(
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
    from facedistill.study import page

    folders = {name: folder for name, _, folder in (system.partition("=") for system in systems)}
    if len(folders) != len(systems) or not all(name and folder for name, folder in folders.items()):
        raise InputError(f"{' '.join(systems)}; expected NAME=FOLDER, each name once")
    if not out.lower().endswith(PAGES) or Path(out).is_dir():  # a Path does not know that it ended in a slash
        raise InputError(f"{out}: cannot be a page; expected a file that ends in {PAGES[0]}")
    n_sentences = page.build(
        {name: Path(folder) for name, folder in folders.items()}, Path(out),
        n_sheets=sheets, n_trials=trials, n_checks=checks, seed=seed, question=question or page.QUESTION,
    )  # fmt: skip
    print(
        f"study: {len(folders)} systems, {n_sentences} sentences, {sheets} sheets of {trials} comparisons: {out}", file=sys.stderr
    )


@app.command("analyse")
def analyse(
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
