"""What raters preferred: rates with intervals, and a ranking by the model of Bradley and Terry (1952)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.core.errors import InputError

COLUMNS = ("rater", "sheet", "trial", "sentence", "left", "right", "check", "chosen", "seconds")
SIDES = ("left", "right")
ITERATIONS = 10_000
TOLERANCE = 1e-10
PRIOR = 0.1  # of a win each way for every pair: a system that never wins still has a finite strength
LOW, HIGH = 2.5, 97.5


def read_answers(paths: Sequence[Path]) -> pd.DataFrame:
    """All answers in the files that the page made, columns `COLUMNS`.

    Raises:
        InputError: no such file, not such a CSV, or a rater twice.
    """
    tables = [_read(path) for path in paths]
    for path, table in zip(paths, tables, strict=True):
        others = [
            other for other, seen in zip(paths, tables, strict=True) if other != path and set(seen["rater"]) & set(table["rater"])
        ]
        if others:
            raise InputError(f"{path}: the rater of {others[0]} once more; allowed: each file once")
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype={"rater": str, "check": str, "sentence": str}, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise InputError(f"{path}: not a file of answers ({' '.join(str(error).split())[:120]})") from None
    if tuple(table.columns) != COLUMNS:
        raise InputError(f"{path}: its columns are {', '.join(map(str, table.columns))[:120]}; allowed: {', '.join(COLUMNS)}")
    if not table["chosen"].isin(SIDES).all() or not table["check"].isin(("", *SIDES)).all():
        raise InputError(f"{path}: a choice that is none; allowed in `chosen`: left, right")
    return table


def attentive(answers: pd.DataFrame) -> pd.DataFrame:
    """The comparisons, without checks, of the raters who passed all their checks."""
    is_check = answers["check"] != ""
    failed = set(answers.loc[is_check & (answers["check"] != answers["chosen"]), "rater"])
    return answers[~is_check & ~answers["rater"].isin(failed)].reset_index(drop=True)


def preferences(answers: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """How often one system is preferred to another: columns system, other, rate, low, high, n; a row for every ordered pair.

    Intervals are 95 % bootstrap intervals over raters.
    """
    systems, wins = _wins(answers)
    draws = np.stack([wins[rows].sum(0) for rows in _resampled(len(wins), n_draws, seed)])
    rows = []
    for i, system in enumerate(systems):
        for j, other in enumerate(systems):
            if i == j:
                continue
            n = int(wins[:, i, j].sum() + wins[:, j, i].sum())
            with np.errstate(invalid="ignore"):
                rates = draws[:, i, j] / (draws[:, i, j] + draws[:, j, i])
            ends = np.nanpercentile(rates, [LOW, HIGH]) if np.isfinite(rates).any() else (np.nan, np.nan)
            rows.append((system, other, wins[:, i, j].sum() / n if n else np.nan, *ends, n))
    return pd.DataFrame(rows, columns=["system", "other", "rate", "low", "high", "n"])


def ranking(answers: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """Strengths of all systems, the strongest first: columns system, strength, low, high.

    Of two systems the first is preferred with the odds exp(difference of their strengths); they sum to 0. Intervals as in
    `preferences`.
    """
    systems, wins = _wins(answers)
    strength = bradley_terry(wins.sum(0))
    draws = [bradley_terry(wins[rows].sum(0)) for rows in _resampled(len(wins), n_draws, seed)]
    low, high = np.percentile(draws, [LOW, HIGH], axis=0)
    table = pd.DataFrame({"system": systems, "strength": strength, "low": low, "high": high})
    return table.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def summary(answers: pd.DataFrame) -> str:
    """How many raters answered and may be counted, in a sentence."""
    kept, n_raters = attentive(answers), answers["rater"].nunique()
    if answers.empty:
        return "No answers have been collected."
    if kept.empty:
        return f"None of {n_raters} raters passed all attention checks."
    return f"{kept['rater'].nunique()} of {n_raters} raters passed all attention checks; {len(kept)} comparisons."


def print_analysis(paths: Sequence[Path], *, n_draws: int = 1000, seed: int = 1) -> None:
    """Prints the ranking and the preference rates of files of answers as Markdown.

    Raises:
        InputError: see `read_answers`; or nobody passed the checks.
    """
    answers = read_answers(paths)
    kept = attentive(answers)
    if kept.empty:
        raise InputError(f"{len(paths)} files: no comparison by a rater who passed all checks; allowed: at least one")
    print(summary(answers), "\n")
    print(ranking(kept, n_draws=n_draws, seed=seed).to_markdown(index=False, floatfmt=".2f"), "\n")
    print(preferences(kept, n_draws=n_draws, seed=seed).to_markdown(index=False, floatfmt=".3f"))


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Log strengths (N,), with mean 0, of N systems from (N, N) counts, of how often one in a row beat one in a column.

    The most likely ones under a weak prior, by the iteration of Hunter (2004).
    """
    counts = wins + PRIOR * (1 - np.eye(len(wins)))
    won, met = counts.sum(1), counts + counts.T
    skill = np.ones(len(wins))
    for _ in range(ITERATIONS):
        before = skill
        skill = won / (met / (skill[:, None] + skill)).sum(1)
        skill = skill / np.exp(np.log(skill).mean())
        if np.abs(skill - before).max() < TOLERANCE:
            break
    return np.log(skill)


def _wins(answers: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The systems, by name, and (raters, N, N) how often each rater preferred the one in a row to the one in a column."""
    systems = sorted(set(answers["left"]) | set(answers["right"]))
    place = {system: index for index, system in enumerate(systems)}
    raters, rater = np.unique(answers["rater"].to_numpy(str), return_inverse=True)
    left = (answers["chosen"] == "left").to_numpy()
    first, second = (answers[side].map(place).to_numpy(int) for side in SIDES)
    wins = np.zeros((len(raters), len(systems), len(systems)))
    np.add.at(wins, (rater, np.where(left, first, second), np.where(left, second, first)), 1)
    return systems, wins


def _resampled(n_raters: int, n_draws: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(max(n_raters, 1), size=(n_draws, n_raters))
