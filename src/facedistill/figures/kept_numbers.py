"""Numbers that texts quote of what is kept and `make repro` does not make: the full grid, recordings, seeds of whole runs."""

import math

import pandas as pd
import yaml

from facedistill.core.errors import InputError
from facedistill.core.files import read_json
from facedistill.core.paths import DETAILS, FIGURES
from facedistill.figures.numbers import TESTED
from facedistill.figures.tables import ENDS, interval_text
from facedistill.measure.bootstrap import WEIGHTED
from facedistill.repro.config import config
from facedistill.repro.verify import EXPECTED, compared, tolerances
from facedistill.runtime.released import RELEASED, WINDOW_SUFFIX

GRID = FIGURES / "release"
# column of tables 2 and 4 -> decimals
COLUMNS = {"lip_gap_r_gain": 3, "lve_mm_gain": 2, "closure_auc_gain": 3, "jitter_gain": 0, "correlation": 3, "explained": 3}


def kept_numbers() -> dict[str, str]:
    """{name: text} of these numbers, rounded and without units; `InputError` where a file is missing or broken."""
    found = {}
    for source, read in ((GRID, _grid), (GRID, _chance), (DETAILS, _recordings), (EXPECTED, _left_out)):
        try:
            found |= read()
        except (AttributeError, KeyError, OSError, TypeError, ValueError) as error:
            raise InputError(f"{source}: cannot be read ({error!r}); expected what is committed there") from None
    return found


def _grid() -> dict[str, str]:
    """Tables 2 and 4 of each folder, plain, with sign, as a loss where it is a gain, and with intervals; how many variants."""
    configurations = {"release/variants": "release", "release/variants-here": str(GRID / "config.yaml")}
    found = {name: str(len(yaml.safe_load(config(path))["ablate"]["variants"])) for name, path in configurations.items()}
    for path in sorted(GRID.rglob("tab*.csv")):
        folder, table = path.parent.relative_to(FIGURES).as_posix(), pd.read_csv(path, index_col=0)
        for column in COLUMNS.keys() & set(table):
            for row, *ends in table[[f"{column}{end}" for end in ENDS]].dropna().itertuples():
                name, n_digits = f"{folder}/{row}/{column}", COLUMNS[column]
                found[name] = interval_text(ends[0], n_digits=n_digits)
                found[f"{name}/signed"] = f"{ends[0]:+.{n_digits}f}"
                found[f"{name}/turned"] = interval_text(-ends[0], n_digits=n_digits)
                found[f"{name}/interval"] = interval_text(*ends, n_digits=n_digits)
    return found


def _chance() -> dict[str, str]:
    """How far seeds of one variant come out apart, and what fewer labels or voices change in their mean."""
    folder = GRID / "seeds"
    runs = read_json(folder / "ablation_seeds.json")[TESTED]
    r = pd.DataFrame({name: {seed: run["lip_gap_r"] for seed, run in seeds.items()} for name, seeds in runs.items()})
    gains = pd.read_csv(folder / "tab2_ablations.csv", index_col=0)["lip_gap_r_gain"]
    return {
        "release/seeds/apart": f"{(r.max() - r.min()).max():.3f}",
        "release/seeds/fewer-labels-or-voices": f"{gains.filter(regex='^(labels|voices)-').abs().max():.3f}",
        **{f"release/seeds/baseline/lve_mm/{seed}": f"{run['lve_mm']:.2f}" for seed, run in runs["baseline"].items()},
    }


def _recordings() -> dict[str, str]:
    """What the benchmark has heard, and what noise, telephones, levels and silence do to released models at most: rounded up."""
    details, lost, quiet = read_json(DETAILS), [], []
    counts, systems = [source["n_recordings"] for source in details["recordings"].values()], details["systems"]
    for name in {path.stem.removesuffix(WINDOW_SUFFIX) for path in RELEASED.glob("*/*.onnx")}:
        conditions = systems[name]["conditions"]
        auc = {condition: groups[WEIGHTED]["closure_auc"]["value"] for condition, groups in conditions.items()}
        lost.append(1 - min(auc.values()) / auc["clean"])
        quiet += [{"system": name, "sound": sound, **measured} for sound, measured in systems[name]["non-speech"].items()]
    table = pd.DataFrame(quiet)
    jitter = 100 * table.set_index(["system", "sound"])["jitter_ratio"]
    real_time = jitter.filter(like="real-time").groupby("sound").max()
    return {
        "benchmark/sources": str(len(counts)),
        "benchmark/recordings": str(sum(counts)),
        "benchmark/recordings-of-one-source": str(max(counts)),
        "benchmark/bilabials-in-english": str(systems["on-device"]["languages"]["en"]["pbm"]["n"]),
        "benchmark/auc-lost": _at_most(100 * max(lost), 0),
        "benchmark/gap-in-quiet": _at_most(table["gap_mm"].max(), 1),
        "benchmark/jitter-in-quiet/on-device": _at_most(jitter.filter(like="on-device").max(), 0),
        **{f"benchmark/jitter-in-quiet/real-time/{sound}": _at_most(share, 0) for sound, share in real_time.items()},
    }


def _left_out() -> dict[str, str]:
    """How many numbers of a whole run `verify` would fail, had the run not been among those that its tolerances come from."""
    runs, expected = (read_json(EXPECTED / name) for name in ("seed_spread.json", "metrics.json"))
    verdicts = pd.concat(
        compared(run, expected, tolerances([expected, *(other for key, other in runs.items() if key != name)]))["verdict"]
        for name, run in runs.items()
    )
    return {"verify/left-out": str(len(verdicts)), "verify/left-out-that-fail": str((verdicts == "FAIL").sum())}


def _at_most(value: float, n_digits: int) -> str:
    scale = 10**n_digits
    return f"{math.ceil(round(value * scale, 6)) / scale:.{n_digits}f}"  # 100 * 0.07 is a bit more than 7
