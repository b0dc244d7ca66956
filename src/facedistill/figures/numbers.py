"""Every number that a text of this project quotes, with its unit and where it comes from: figures/numbers.json."""

import math
import re
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from facedistill.core.files import read_json
from facedistill.core.params import load_params
from facedistill.core.paths import BENCHMARKS, FIGURES, PARAMS, ROOT
from facedistill.figures.tables import interval_text
from facedistill.runtime.released import RELEASED

WHAT_WORKS = BENCHMARKS / "what_works.csv"
DURATIONS = ROOT / "tests" / "expected" / "durations.json"
TESTED = "test-voices"


@dataclass(frozen=True)
class Number:
    """A number as texts have it.

    Attributes:
        text: with its interval and without its unit, rounded.
        value: as it was measured; None of a sentence.
        unit: "" for what has none, such as a correlation.
        source: the file that has it, from the project's root.
    """

    text: str
    value: float | None
    unit: str
    source: str


def quoted_numbers() -> dict[str, dict]:
    """{name: text, value, unit, source} of all numbers; a name is the table, the row and the column.

    Raises:
        InputError: a table is missing or broken.
    """
    tables = (
        _released(), _on_recordings(), _what_works(), _settings(), _main_results(), _teachers(), _on_device(), _minutes(),
        _page(), _films(), _throughput(),
    )  # fmt: skip
    return {name: asdict(number) for table in tables for name, number in table.items()}


def _released() -> dict[str, Number]:
    """The sizes of the released models, from their cards."""
    found = {}
    for card in sorted(RELEASED.glob("*/README.md")):
        count = re.search(r"([\d,]+) parameters", card.read_text(encoding="utf-8"))[1]
        found[f"models/{card.parent.name}/parameters"] = Number(count, int(count.replace(",", "")), "parameters", _name(card))
    return found


def _on_recordings() -> dict[str, Number]:
    """What the benchmark on recordings says of the released models and beside them, weighted, and as the mean of sources."""
    path, found = RELEASED / "results.json", {}
    for system, groups in read_json(path).items():
        for group, metrics in groups.items():
            for metric, scale, digits, unit in (
                ("closure_auc", 1, 3, ""),
                ("pbm", 100, 0, "%"),
                ("pbm_1mm", 100, 0, "%"),
                ("false_closures_1mm", 100, 0, "%"),
                ("opening_r", 1, 3, ""),
            ):
                ends = metrics[metric]
                text = interval_text(*(scale * ends[end] for end in ("value", "low", "high")), n_digits=digits)
                found[f"recordings/{system}/{group}-{metric}"] = Number(text, scale * ends["value"], unit, _name(path))
    return found


def _what_works() -> dict[str, Number]:
    """The short runs on held-out recordings: how many there are, and their values without intervals."""
    table, source = pd.read_csv(WHAT_WORKS).set_index("change"), _name(WHAT_WORKS)
    found = {"what-works/runs": Number(str(len(table)), len(table), "runs", source)}
    for column in ("AUC", "r", "AUC, level-30db"):
        for change, value in table[column].astype(str).str.partition(" ")[0].items():
            found[f"what-works/{change}/{column}"] = Number(value, float(value), "", source)
    return found


def _settings() -> dict[str, Number]:
    """What the parameters name: languages and voices of the corpus, and variants of a student."""
    params = load_params()
    corpus, source = params.prepare.synthetic, _name(PARAMS)
    counts = {
        "corpus/languages": (len(corpus.languages) + len(corpus.unseen_languages), "languages"),
        "corpus/languages-heard": (len(corpus.languages), "languages"),
        "corpus/voices": (sum(corpus.voices.model_dump().values()), "voices"),
        "variants": (len(params.ablate.variants), "variants"),
    }
    return {name: Number(str(count), count, unit, source) for name, (count, unit) in counts.items()}


def _main_results() -> dict[str, Number]:
    """Table 1 on unseen voices, and the sentence above it."""
    path = FIGURES / "tab1_main_results.csv"
    table, shown = pd.read_csv(path).set_index(["split", "system"]), path.with_suffix(".md")
    found = {"table-1/summary": Number(shown.read_text(encoding="utf-8").splitlines()[0], None, "", _name(shown))}
    for system, row in table.loc[TESTED].iterrows():
        for metric, unit in (("lip_gap_r", ""), ("pbm", ""), ("pbm_1mm", ""), ("lve_mm", "mm")):
            found[f"table-1/{system}/{metric}"] = Number(f"{row[metric]:.2f}", row[metric], unit, _name(path))
    return found


def _teachers() -> dict[str, Number]:
    """Table 4: what is kept of meshes, and how students follow their teachers."""
    path = FIGURES / "tab4_teachers.csv"
    found = {}
    for name, row in pd.read_csv(path).set_index("teacher").iterrows():
        if pd.notna(row.variance_kept):
            kept = 100 * row.variance_kept
            found[f"table-4/{name}/variance"] = Number(f"{kept:.3f}", kept, "%", _name(path))
        for column in ("teacher_lip_gap_r", "student_lip_gap_r", "correlation", "explained"):
            if pd.notna(row[column]):
                found[f"table-4/{name}/{column}"] = Number(f"{row[column]:.2f}", row[column], "", _name(path))
    return found


def _on_device() -> dict[str, Number]:
    """Table 3: memory and time."""
    path = FIGURES / "tab3_on_device.csv"
    units = {
        "weights_mb": ("MB", 2), "working_mb": ("MB", 2), "pushes_60_ms_per_s": ("ms", 1), "pushes_10_ms_per_s": ("ms", 1),
        "offline_ms_per_s": ("ms", 1), "windows_ms_per_s": ("ms", 0), "delay_ms": ("ms", 0), "r_ratio": ("", 3),
        "pbm_1mm_difference": ("", 3), "pbm_difference": ("", 3),
    }  # fmt: skip
    found = {}
    for system, row in pd.read_csv(path).set_index("system").iterrows():
        for column, (unit, digits) in units.items():
            if pd.notna(row[column]):
                found[f"table-3/{system}/{column}"] = Number(f"{row[column]:.{digits}f}", row[column], unit, _name(path))
        for way in ("offline", "pushes_10", "pushes_30", "pushes_60"):
            ratio = row[f"{way}_ratio"]
            if pd.notna(ratio):
                found[f"table-3/{system}/{way}_ratio"] = Number(f"1/{1 / ratio:.1f}", ratio, "of window by window", _name(path))
    return found


def _minutes() -> dict[str, Number]:
    """What the stages of the run took whose numbers are the expected ones, of which its notebooks are one, and all of them."""
    stages, source = pd.Series(read_json(DURATIONS)).groupby(lambda name: name.split()[0]).sum() / 60, _name(DURATIONS)
    hours = stages.sum() / 60
    return {
        f"minutes/{name}": Number("under 1" if minutes < 1 else f"{minutes:.0f}", minutes, "min", source)
        for name, minutes in stages.items()
    } | {"hours": Number(f"under {math.ceil(hours)}", hours, "h", source)}


def _page() -> dict[str, Number]:
    """Frames that the page draws a second where no graphics card helps: the least and the most of all windows."""
    path = BENCHMARKS / "page_frames.json"
    found = [row["frames/s"] for row in read_json(path)["rows"]]
    return {f"page/{end}": Number(f"{value:.1f}", value, "frames/s", _name(path)) for end, value in _ends(found).items()}


def _films() -> dict[str, Number]:
    """Frames a second of films, on two processes, with and without a strip of sound."""
    path = BENCHMARKS / "render_speed.json"
    rows = [row for row in read_json(path)["rows"] if row["processes"] == 2]
    names = {"yes": "films/with-strip", "no": "films/plain"}
    return {names[row["strip"]]: Number(f"{row['frames/s']:.0f}", row["frames/s"], "frames/s", _name(path)) for row in rows}


def _throughput() -> dict[str, Number]:
    """How many times as fast dense training is as training window by window, of the students that were measured."""
    path = BENCHMARKS / "training_throughput.json"
    found = _ends([row["ratio"] for row in read_json(path)["rows"]])
    return {f"dense-training/{end}": Number(f"{value:.0f}", value, "times", _name(path)) for end, value in found.items()}


def _ends(values: list[float]) -> dict[str, float]:
    return {"least": min(values), "most": max(values)}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
