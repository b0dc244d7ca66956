"""What raters preferred: rates with intervals, and a ranking by the model of Bradley and Terry (1952)."""

import csv
import io
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd

from facedistill.core.errors import InputError
from facedistill.core.messages import printable
from facedistill.measure.bootstrap import divide
from facedistill.measure.bootstrap import summary as with_interval

COLUMNS = ("rater", "sheet", "trial", "sentence", "left", "right", "check", "chosen", "seconds")
SIDES = ("left", "right")
NAMES = ("rater", "sentence", *SIDES)  # columns of names, which are texts even where they look like numbers
MAX_NAME = 1000  # letters
MAX_FILE_BYTES = 20_000_000  # of a file of answers: those of ten thousand raters
MAX_RATERS, MAX_SYSTEMS = 10_000, 50
ITERATIONS = 1000  # a dozen, where no system is far better than all others
TOLERANCE = 1e-8
PRIOR = 0.1  # of a win each way for every pair: a system that never wins still has a finite strength
BLOCK_DRAWS = 100


def read_answers(paths: Sequence[Path]) -> pd.DataFrame:
    """All answers in the files that the page made, columns `COLUMNS`: sheet and trial are integers, seconds floats."""
    tables, raters, systems = [], {}, set()
    for path in paths:
        tables.append(table := _read(path))
        if again := raters.keys() & set(table["rater"]):
            raise InputError(f"{path}: the rater of {raters[again.pop()]} once more; expected each file once")
        raters |= dict.fromkeys(table["rater"], path)
        systems |= set(table["left"]) | set(table["right"])
        if len(raters) > MAX_RATERS or len(systems) > MAX_SYSTEMS:
            allowed = f"expected at most {MAX_RATERS} and {MAX_SYSTEMS}"
            raise InputError(f"{path}: with it, {len(raters)} raters and {len(systems)} systems; {allowed}")
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _read(path: Path) -> pd.DataFrame:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise InputError(f"{path}: too long for answers; expected at most {MAX_FILE_BYTES / 1e6:.0f} MB")
        rows = list(filter(None, csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)))
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path}: not a file of answers ({' '.join(str(error).split())[:120]})") from None
    if not rows:
        raise InputError(f"{path}: not a file of answers (it is empty)")
    if tuple(rows[0]) != COLUMNS:
        raise InputError(f"{path}: its columns are {', '.join(rows[0])[:120]}; expected {', '.join(COLUMNS)}")
    for number, row in enumerate(rows):
        if len(row) != len(COLUMNS):
            raise InputError(f"{path}: {len(row)} cells in answer {number}; expected {len(COLUMNS)}")
    return _checked(path, pd.DataFrame(rows[1:], columns=list(COLUMNS), dtype=object))


def _checked(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers for what must be numbers."""
    table["seconds"] = pd.to_numeric(table["seconds"], errors="coerce").astype(float)
    letters = pd.concat([table[column].str.len() for column in NAMES], axis=1)
    counts = pd.concat([table[column].str.fullmatch("[0-9]{1,9}") for column in ("sheet", "trial")], axis=1)
    itself = (table["check"] == "") & (table["left"] == table["right"])
    rules = [
        ("a choice that is none", table["chosen"].isin(SIDES), "left or right"),
        ("a check that is none", table["check"].isin(("", *SIDES)), "left, right or nothing"),
        ("a name without letters or with too many", ((letters >= 1) & (letters <= MAX_NAME)).all(axis=1), f"1 to {MAX_NAME}"),
        ("a sheet or trial that is none", counts.all(axis=1), "whole numbers"),
        ("seconds that are none", np.isfinite(table["seconds"]) & (table["seconds"] >= 0), "a number from 0 on"),
        ("a system compared with itself", ~itself, "two systems where there is no check"),
        ("a trial once more", ~table.duplicated(["rater", "sheet", "trial"]), "each trial of a rater once"),
    ]
    for fault, is_good, expected in rules:
        if not is_good.all():
            raise InputError(f"{path}: {fault} in answer {int(np.argmin(is_good)) + 1}; expected {expected}")
    return table.astype({"sheet": int, "trial": int})


def attentive(answers: pd.DataFrame) -> pd.DataFrame:
    """The comparisons, without checks, of the raters who passed all their checks."""
    is_check = answers["check"] != ""
    failed = set(answers.loc[is_check & (answers["check"] != answers["chosen"]), "rater"])
    return answers[~is_check & ~answers["rater"].isin(failed)].reset_index(drop=True)


def preferences(answers: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """How often one system is preferred to another: columns system, other, rate, low, high, n; a row for every ordered pair.

    Intervals are 95 % bootstrap intervals over raters.
    """
    systems, draws = _draws(answers, n_draws, seed)
    met, rows = draws + draws.swapaxes(1, 2), []
    for i, j in permutations(range(len(systems)), 2):
        rate = with_interval(divide(draws[:, i, j], met[:, i, j]))
        rows.append((systems[i], systems[j], *rate.values(), int(met[0, i, j])))
    return pd.DataFrame(rows, columns=["system", "other", "rate", "low", "high", "n"])


def ranking(answers: pd.DataFrame, *, n_draws: int, seed: int) -> pd.DataFrame:
    """Strengths of all systems, the strongest first: columns system, strength, low, high.

    Of two systems the first is preferred with the odds exp(difference of their strengths); they sum to 0. Intervals as in
    `preferences`.
    """
    systems, draws = _draws(answers, n_draws, seed)
    rows = [(system, *with_interval(found).values()) for system, found in zip(systems, bradley_terry(draws).T, strict=True)]
    table = pd.DataFrame(rows, columns=["system", "strength", "low", "high"])
    return table.sort_values("strength", ascending=False, kind="stable", ignore_index=True)


def summary(answers: pd.DataFrame) -> str:
    """How many raters answered and may be counted, in a sentence."""
    kept, n_raters = attentive(answers), answers["rater"].nunique()
    if answers.empty:
        return "No answers have been collected."
    if kept.empty:
        return f"None of {n_raters} raters passed all attention checks."
    counted, checked = set(kept["rater"]), set(answers.loc[answers["check"] != "", "rater"])
    if not checked:
        return f"No attention checks: {n_raters} raters are counted, unchecked; {len(kept)} comparisons."
    said = f"{len(counted & checked)} of {len(checked)} raters passed all attention checks"
    if unchecked := counted - checked:
        said += f", {len(unchecked)} more without any are counted, unchecked"
    return f"{said}; {len(kept)} comparisons."


def as_markdown(table: pd.DataFrame, *, n_digits: int) -> str:
    """A table whose first columns name systems: in no name anything ends a cell or moves a terminal's cursor."""
    names = [column for column in table if column in ("system", "other")]
    shown = table.assign(**{column: table[column].map(lambda name: printable(name).replace("|", "\\|")) for column in names})
    return shown.to_markdown(index=False, floatfmt=f".{n_digits}f", disable_numparse=list(range(len(names))))


def bradley_terry(wins: np.ndarray) -> np.ndarray:
    """Log strengths (..., N), with mean 0, of N systems from (..., N, N) counts, of how often one in a row beat one in a column.

    The most likely ones under a weak prior, by Newton's method, with short steps that it needs far from them.
    """
    n_systems = wins.shape[-1]
    counts = wins + PRIOR * (1 - np.eye(n_systems))
    met = counts + counts.swapaxes(-1, -2)
    strength = np.zeros(wins.shape[:-1])
    for _ in range(ITERATIONS):
        odds = (1 + np.tanh((strength[..., :, None] - strength[..., None, :]) / 2)) / 2
        slope = counts.sum(-1) - (met * odds).sum(-1)
        weight = met * odds * odds.swapaxes(-1, -2)
        curvature = weight.sum(-1)[..., None] * np.eye(n_systems) - weight + 1 / n_systems  # which keeps the mean at 0
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        strength += step / np.maximum(1, np.abs(step).max(-1, keepdims=True))
        if np.abs(step).max() < TOLERANCE:
            break
    return strength


def _draws(answers: pd.DataFrame, n_draws: int, seed: int) -> tuple[list[str], np.ndarray]:
    """The systems, by name, and (1 + n_draws, N, N) how often the one in a row was preferred to the one in a column.

    By all raters first, then by as many raters drawn from them again and again.
    """
    systems = sorted(set(answers["left"]) | set(answers["right"]))
    rater, raters = pd.factorize(answers["rater"], sort=True)
    sides = np.stack([pd.Index(systems).get_indexer(answers[side]) for side in SIDES])
    won, lost = np.where(answers["chosen"] == "left", sides, sides[::-1])
    wins = np.zeros((len(raters), len(systems), len(systems)))
    np.add.at(wins, (rater, won, lost), 1)
    return systems, _resampled(wins, n_draws, seed)


def _resampled(wins: np.ndarray, n_draws: int, seed: int) -> np.ndarray:
    """(1 + n_draws, N, N) wins of all raters, then of as many drawn from (raters, N, N)."""
    n_raters = len(wins)
    drawn = np.random.default_rng(seed).integers(max(n_raters, 1), size=(n_draws, n_raters))
    blocks = [drawn[first : first + BLOCK_DRAWS] for first in range(0, n_draws, BLOCK_DRAWS)]
    times = [np.stack([np.bincount(rows, minlength=n_raters) for rows in block]).astype(float) for block in blocks]
    return np.concatenate([wins.sum(0)[None], *(np.tensordot(counts, wins, 1) for counts in times)])
