"""The page of a study: one HTML file with all its clips, which works from a disk, a server or a phone.

A rater compares every pair of systems equally often, on either side equally often, in an order of the sheet's own.
"""

import base64
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.study.analysis import COLUMNS, MAX_NAME, SIDES

CLIP_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}
QUESTION = "In which clip does the face fit the sound better?"
WELCOME = "You will compare animated faces that speak. It takes some minutes."
MAX_PAGE_MB = 200
FORMULAS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet that opens the answers would compute what begins so
N_TOLD = 5
TEMPLATE = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Trial:
    """Two clips of one sentence, side by side; with `check`, the side ("left" or "right") that the page asks for."""

    sentence: str
    left: str
    right: str
    check: str = ""


def build(
    systems: Mapping[str, Path], out: Path, *, n_sheets: int = 24, n_trials: int = 20, n_checks: int = 2, seed: int = 1,
    question: str | None = None,
) -> int:  # fmt: skip
    """Writes the page.

    Args:
        systems: {name: folder of clips}; clips of one sentence have the same name in every folder.
        out: the HTML file. `?sheet=N` behind its address gives a rater a sheet, or else chance does.
        question: what raters are asked, other than `QUESTION`.

    Returns:
        How many sentences all systems have.
    """
    clips = {name: _clips(folder) for name, folder in systems.items()}
    every, sentences = set().union(*clips.values()), sorted(set.intersection(*map(set, clips.values()))) if clips else []
    if not sentences:
        folders = ", ".join(map(str, systems.values())) or "no folder"
        raise InputError(f"{folders}: no clip that all have; expected NAME.mp4 in each")
    for name in (*systems, *sentences):
        _check_name(name)
    for name, folder in systems.items():
        if missing := sorted(every - set(clips[name])):
            others = f" and {len(missing) - N_TOLD} more" if len(missing) > N_TOLD else ""
            message = "%s: has no clip of %s%s, which the study leaves out"
            logging.getLogger(__name__).warning(message, folder, ", ".join(missing[:N_TOLD]), others)
    size_mb = 4 / 3 * sum(clips[name][sentence].stat().st_size for name in clips for sentence in sentences) / 1e6
    if size_mb > MAX_PAGE_MB:
        raise InputError(f"{out}: a page of {size_mb:.0f} MB; expected {MAX_PAGE_MB} MB, so fewer or smaller clips")
    sheets = make_sheets(sentences, list(systems), n_sheets=n_sheets, n_trials=n_trials, n_checks=n_checks, seed=seed)
    aliases = {name: f"s{index}" for index, name in enumerate(systems)}  # who looks into the page sees no name beside a clip
    study = {
        "columns": COLUMNS, "question": question or QUESTION, "welcome": WELCOME,
        "systems": {alias: name for name, alias in aliases.items()},
        "sheets": [[asdict(trial) | {side: aliases[getattr(trial, side)] for side in SIDES} for trial in one] for one in sheets],
        "clips": {aliases[name]: {sentence: _as_url(clips[name][sentence]) for sentence in sentences} for name in systems},
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(study).encode()).hexdigest()
    study["id"] = f"study-{digest[:16]}"  # answers of another study are not gone on with
    write_text(out, TEMPLATE.read_text(encoding="utf-8").replace("STUDY_JSON", _in_script(study)))
    return len(sentences)


def make_sheets(
    sentences: Sequence[str], systems: Sequence[str], *, n_sheets: int, n_trials: int, n_checks: int, seed: int
) -> list[list[Trial]]:
    """What each of `n_sheets` raters sees: comparisons and, among them, attention checks.

    A check is an instructed response (Oppenheimer, Meyvis and Davidenko, 2009): one system on both sides, and the page says which
    to choose.

    Returns:
        `n_sheets` lists of `n_trials` + `n_checks` trials. Over all sheets the pairs of systems differ by at most one in how
        often they are compared, and each pair's sentences and sides likewise.
    """
    if len(systems) < 2 or not sentences:
        raise InputError(f"{len(systems)} systems, {len(sentences)} sentences; expected at least two systems, one sentence")
    if min(n_sheets, n_trials) < 1 or n_checks < 0:
        raise InputError(f"{n_sheets} sheets of {n_trials} trials, {n_checks} checks; expected at least 1, 1 and 0")
    rng = np.random.default_rng(seed)
    pairs = list(combinations(systems, 2))
    pairs = [pairs[index] for index in rng.permutation(len(pairs))]
    comparisons = {pair: _of_pair(sentences, pair, rng) for pair in pairs}
    sheets = []
    for first in range(0, n_sheets * n_trials, n_trials):
        sheet = [next(comparisons[pairs[number % len(pairs)]]) for number in range(first, first + n_trials)]
        for _ in range(n_checks):
            system, sentence = systems[rng.integers(len(systems))], sentences[rng.integers(len(sentences))]
            sheet.append(Trial(sentence, system, system, check=SIDES[rng.integers(2)]))
        sheets.append([sheet[index] for index in rng.permutation(len(sheet))])
    return sheets


def _of_pair(sentences: Sequence[str], pair: tuple[str, str], rng: np.random.Generator) -> Iterator[Trial]:
    """Comparisons of a pair without end: all sentences in turn, sides swapped from one to the next and from round to round."""
    sides = pair if rng.random() < 0.5 else pair[::-1]
    while True:
        for index in rng.permutation(len(sentences)):
            yield Trial(sentences[index], *sides)
            sides = sides[::-1]


def _in_script(value: object) -> str:
    """JSON in which no text ends the script that it stands in, or begins a tag or a comment there; it is all ASCII."""
    return json.dumps(value).translate({ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&"})


def _clips(folder: Path) -> dict[str, Path]:
    clips = {}
    for path in sorted(folder.glob("*")):
        if path.suffix.lower() in CLIP_TYPES and path.is_file():
            if path.stem in clips:
                raise InputError(f"{path}: a clip of the name of {clips[path.stem].name}; expected each name once")
            clips[path.stem] = path
    return clips


def _check_name(name: str) -> None:
    """Whether a name comes back from the answers of raters as it is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: is no text; expected a name in UTF-8") from None
    if name.startswith(FORMULAS) or len(name) > MAX_NAME:
        shown = name if len(name) <= MAX_NAME else f"{name[:40]}..."
        expected = f"expected at most {MAX_NAME} letters, and none of = + - @, which begin formulas, as the first"
        raise InputError(f"{shown}: cannot name a system or a clip; {expected}")


def _as_url(clip: Path) -> str:
    return f"data:{CLIP_TYPES[clip.suffix.lower()]};base64,{base64.b64encode(clip.read_bytes()).decode()}"
