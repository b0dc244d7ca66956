"""Every number that a text of this project quotes, with its unit and where it comes from: figures/numbers.json."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from facedistill.core.files import read_json
from facedistill.core.params import load_params
from facedistill.core.paths import BENCHMARKS, FIGURES, PARAMS, ROOT
from facedistill.figures.tables import INTERVAL, interval_text
from facedistill.runtime.released import RELEASED

DURATIONS = ROOT / "tests" / "expected" / "durations.json"
TESTED = "test-voices"
WHOLE, ONE, TWO, THREE = (f"{{:.{n_digits}f}}".format for n_digits in range(4))  # a number as text
# columns of tables 1, 3 and 4, their unit and how they are written
MAIN_RESULTS = (("lip_gap_r pbm pbm_1mm", "", TWO), ("lve_mm", "mm", TWO))
ON_DEVICE = (
    ("weights_mb working_mb", "MB", TWO),
    ("pushes_60_ms_per_s pushes_10_ms_per_s offline_ms_per_s", "ms", ONE),
    ("windows_ms_per_s delay_ms", "ms", WHOLE),
    ("r_ratio pbm_1mm_difference pbm_difference", "", THREE),
    ("offline_ratio pushes_10_ratio pushes_30_ratio pushes_60_ratio", "of window by window", lambda ratio: f"1/{1 / ratio:.1f}"),
)
TEACHERS = (("variance", "%", THREE), ("teacher_lip_gap_r student_lip_gap_r correlation explained", "", TWO))
SHARES = ("pbm", "pbm_1mm", "false_closures_1mm")  # metrics in %

# {name: text, rounded, with its interval, without its unit; value, as measured, None of a sentence; unit, "" where there is none;
# source, the file that has it, from the project's root}
Numbers = dict[str, dict]


def quoted_numbers() -> Numbers:
    """All numbers; a name is the table, the row and the column. `InputError` where a file is missing or broken."""
    main, on_device, teachers = (FIGURES / f"{stem}.csv" for stem in ("tab1_main_results", "tab3_on_device", "tab4_teachers"))
    summary = main.with_suffix(".md")
    results, taught = pd.read_csv(main), pd.read_csv(teachers).assign(variance=lambda table: 100 * table["variance_kept"])
    return {
        **_released(),
        **_on_recordings(),
        **_what_works(),
        **_settings(),
        "table-1/summary": _number(summary, None, "", summary.read_text(encoding="utf-8").splitlines()[0]),
        **_of_table("table-1", main, results[results["split"] == TESTED].set_index("system"), MAIN_RESULTS),
        **_of_table("table-4", teachers, taught.set_index("teacher"), TEACHERS),
        **_of_table("table-3", on_device, pd.read_csv(on_device).set_index("system"), ON_DEVICE),
        **_minutes(),
        **_extremes("page", BENCHMARKS / "page_frames.json", "frames/s", "frames/s", ONE),
        **_films(),
        **_extremes("dense-training", BENCHMARKS / "training_throughput.json", "ratio", "times", WHOLE),
    }


def _number(path: Path, value: float | None, unit: str, text: str) -> dict:
    return {"text": text, "value": value, "unit": unit, "source": path.relative_to(ROOT).as_posix()}


def _of_table(name: str, path: Path, table: pd.DataFrame, groups: Sequence[tuple[str, str, Callable]]) -> Numbers:
    """Some columns of a table, row by row; what is not known is left out."""
    return {
        f"{name}/{row}/{column}": _number(path, values[column], unit, written(values[column]))
        for row, values in table.iterrows()
        for columns, unit, written in groups
        for column in columns.split()
        if pd.notna(values[column])
    }


def _extremes(name: str, path: Path, column: str, unit: str, written: Callable[[float], str]) -> Numbers:
    """The least and the most of a column of a benchmark."""
    found = [row[column] for row in read_json(path)["rows"]]
    return {f"{name}/{end}": _number(path, of(found), unit, written(of(found))) for end, of in (("least", min), ("most", max))}


def _released() -> Numbers:
    """The sizes of the released models, from their cards."""
    found = {}
    for card in sorted(RELEASED.glob("*/README.md")):
        count = re.search(r"([\d,]+) parameters", card.read_text(encoding="utf-8"))[1]
        found[f"models/{card.parent.name}/parameters"] = _number(card, int(count.replace(",", "")), "parameters", count)
    return found


def _on_recordings() -> Numbers:
    """What the benchmark on recordings says of the released models and beside them, weighted, and as the mean of sources."""
    path, found = RELEASED / "results.json", {}
    for system, groups in read_json(path).items():
        for group, metrics in groups.items():
            for metric in ("closure_auc", *SHARES, "opening_r"):
                scale, n_digits, unit = (100, 0, "%") if metric in SHARES else (1, 3, "")
                ends = [scale * metrics[metric][end] for end in INTERVAL]
                text = interval_text(*ends, n_digits=n_digits)
                found[f"recordings/{system}/{group}-{metric}"] = _number(path, ends[0], unit, text)
    return found


def _what_works() -> Numbers:
    """The short runs on held-out recordings: how many there are, and their values without intervals."""
    path = BENCHMARKS / "what_works.csv"
    table = pd.read_csv(path).set_index("change")
    found = {"what-works/runs": _number(path, len(table), "runs", str(len(table)))}
    for column in ("AUC", "r", "AUC, level-30db"):
        for change, text in table[column].astype(str).str.partition(" ")[0].items():
            found[f"what-works/{change}/{column}"] = _number(path, float(text), "", text)
    return found


def _settings() -> Numbers:
    """What the parameters name: languages and voices of the corpus, and variants of a student."""
    params = load_params()
    corpus = params.prepare.synthetic
    counts = {
        "corpus/languages": (len(corpus.languages) + len(corpus.unseen_languages), "languages"),
        "corpus/languages-heard": (len(corpus.languages), "languages"),
        "corpus/voices": (sum(corpus.voices.model_dump().values()), "voices"),
        "variants": (len(params.ablate.variants), "variants"),
    }
    return {name: _number(PARAMS, count, unit, str(count)) for name, (count, unit) in counts.items()}


def _minutes() -> Numbers:
    """What the stages of the run took whose numbers are the expected ones, of which its notebooks are one, and all of them."""
    stages = pd.Series(read_json(DURATIONS)).groupby(lambda name: name.split()[0]).sum() / 60
    hours = stages.sum() / 60
    return {
        f"minutes/{name}": _number(DURATIONS, minutes, "min", "under 1" if minutes < 1 else WHOLE(minutes))
        for name, minutes in stages.items()
    } | {"hours": _number(DURATIONS, hours, "h", f"under {math.ceil(hours)}")}


def _films() -> Numbers:
    """Frames a second of films, on two processes, with and without a strip of sound."""
    path, names = BENCHMARKS / "render_speed.json", {"yes": "films/with-strip", "no": "films/plain"}
    rows = [row for row in read_json(path)["rows"] if row["processes"] == 2]
    return {names[row["strip"]]: _number(path, row["frames/s"], "frames/s", WHOLE(row["frames/s"])) for row in rows}
