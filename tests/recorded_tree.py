"""A small tree of recordings with phones and measured lips, false peers, and the closure scores once more, in plain loops."""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.manifest import read_manifest
from facedistill.measure import peers
from facedistill.measure.test_sets import Example, load_examples
from facedistill.repro.benchmark import FOLDER
from facedistill.rig.arkit import INDEX, N_CURVES
from facedistill.rig.curves import FPS, n_frames
from facedistill.speech.audio import write_flac

ALPHABETS = {
    "lab": ("SAMPA-like", ["#", "p", "a", "m", "O", "t", "b", "E", "f", "s", "i"]),
    "studio": ("arpabet (lower case)", ["sil", "p", "aa1", "m", "ow", "t", "b", "eh", "v", "s", "iy0"]),
    "field": ("IPA", ["", "pʰ", "ɐ", "mː", "ɔː", "t", "b", "ɛ", "f", "k", "i"]),
}


def make_tree(root: Path, *, n_test: int = 3, n_train: int = 2, seed: int = 0) -> Path:
    """Writes a manifest of recordings with phones; "studio" has several speakers, "field" one recording.

    Returns:
        The manifest.
    """
    rng, rows = np.random.default_rng(seed), []
    for source, (phoneset, labels) in ALPHABETS.items():
        for split, count in (("test", 1 if source == "field" else n_test), ("train", n_train if source == "lab" else 0)):
            for number in range(count):
                key = f"{source}-{split}-{number}"
                times = np.concatenate([[0], np.cumsum(rng.uniform(0.04, 0.16, 18))]).round(6)
                selected = [labels[index] for index in rng.permutation(len(labels)).tolist() * 2][: len(times) - 1]
                phones = "".join(
                    f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in zip(times, times[1:], selected, strict=False)
                )
                (root / "phones").mkdir(parents=True, exist_ok=True)
                (root / f"phones/{key}.tsv").write_text(phones, encoding="utf-8")
                n_samples = int((times[-1] + 0.1) * SAMPLE_RATE_HZ)
                loud = np.interp(np.arange(n_samples) / SAMPLE_RATE_HZ, times, rng.uniform(0, 1, len(times)))
                write_flac(root / f"audio/{key}.flac", (0.1 * loud * rng.standard_normal(n_samples)).astype(np.float32))
                rows.append({
                    "id": f"x/{key}", "source": source, "speaker": f"{source}-{number % 2}", "language": "en-AU", "split": split,
                    "audio": f"audio/{key}.flac", "duration_s": n_samples / SAMPLE_RATE_HZ, "phones": f"phones/{key}.tsv",
                    "phoneset": phoneset, "label_kind": "hand",
                })  # fmt: skip
    path = root / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_lips(root: Path, *, seed: int = 0) -> Path:
    """Writes a manifest of recordings with measured lips: three of one talker in "test", one each of two in "test-talkers".

    Returns:
        The manifest.
    """
    rng, rows = np.random.default_rng(seed), []
    for split, speaker in (("test", "s1"), ("test", "s1"), ("test", "s1"), ("test-talkers", "s2"), ("test-talkers", "s3")):
        key = f"{speaker}-{len(rows)}"
        times_s = np.arange(50) / 25
        series = {name: np.cumsum(rng.normal(size=50)) * 0.01 for name in ("inner_gap", "width")}
        (root / "measured").mkdir(parents=True, exist_ok=True)
        np.savez(root / f"measured/{key}.npz", times_s=times_s, valid=rng.uniform(size=50) < 0.9, **series)
        write_flac(root / f"audio/{key}.flac", (0.1 * rng.standard_normal(2 * SAMPLE_RATE_HZ)).astype(np.float32))
        rows.append({
            "id": key, "source": "film", "speaker": speaker, "language": "en-GB", "split": split, "audio": f"audio/{key}.flac",
            "duration_s": 2.0, "measured": f"measured/{key}.npz", "offset_s": 0.0167,
        })  # fmt: skip
    path = root / "manifest.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def make_folder(root: Path, manifest: Path, **changes) -> Path:
    """The benchmark's folder with its own parameters, made small; `changes` replace values."""
    values = yaml.safe_load((FOLDER / "params.yaml").read_text())
    values |= {"manifest": f"../{manifest.relative_to(root)}", "peers": [], "variants": []}
    values["lips"] |= {"manifest": "../lips/manifest.jsonl"}
    values["conditions"] |= {"max_recordings": 1, "levels_db": [-20.0], "snr_db": [10.0]}
    values["non_speech"] |= {"duration_s": 1.0, "levels_db": [-50.0]}
    folder = root / "bench"
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(values | changes))
    return folder


def read_examples(manifest: Path, split: str = "test") -> list[Example]:
    return load_examples(manifest.parent, [row for row in read_manifest(manifest) if row.split == split])


def random_curves(examples: Sequence[Example], *, seed: int = 0, levels: int | None = None) -> list[np.ndarray]:
    """Curves of every example; of few `levels`, so that gaps tie, if given."""
    rng, found = np.random.default_rng(seed), []
    for example in examples:
        curves = rng.uniform(0, 1, (n_frames(len(example.audio)), N_CURVES)) ** 3
        if levels:
            curves[:] = (rng.integers(0, levels, len(curves)) / levels)[:, None]
        found.append(curves.round(6))
    return found


def opened_by_labels(examples: Sequence[Example], *, late_s: float) -> list[np.ndarray]:
    """Jaws that open as far as `OPENING` of the phones says, and as late as asked."""
    found = []
    for example in examples:
        times_s = np.arange(n_frames(len(example.audio))) / FPS - late_s
        curves = np.zeros((len(times_s), N_CURVES))
        curves[:, INDEX["jawOpen"]] = [OPENING[_kind_at(example, time_s)] for time_s in times_s]
        found.append(curves)
    return found


RHUBARB = """#!{python}
import json, sys
if "--version" in sys.argv:
    print("Rhubarb Lip Sync version 1.14.0")
else:
    cues = [("X", 0, 0.1), ("A", 0.1, 0.2), ("D", 0.2, 9)]
    print(json.dumps({{"mouthCues": [{{"value": v, "start": s, "end": e}} for v, s, e in cues]}}))
"""
# Says "aa" from half a second on.
WAWA = """
const VISEMES = { sil: "viseme_sil", aa: "viseme_aa" };
class Lipsync {
  constructor() { this.analyser = new window.AudioContext().createAnalyser(); this.viseme = VISEMES.sil; }
  processAudio() {
    const bytes = new Uint8Array(this.analyser.frequencyBinCount);
    this.analyser.getByteFrequencyData(bytes);
    this.viseme = performance.now() >= 500 && bytes[40] > bytes[400] ? VISEMES.aa : VISEMES.sil;
  }
}
module.exports = { Lipsync, VISEMES };
"""


def install_rhubarb(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder / "rhubarb"
    folder.mkdir()
    path.write_text(RHUBARB.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def install_package(folder: Path, name: str, code: str) -> None:
    shutil.copy(FOLDER / peers.ADAPTER, folder)
    package = folder / "node_modules" / name
    package.mkdir(parents=True)
    (package / "package.json").write_text(json.dumps({"name": name, "version": "9.9.9", "main": "index.cjs"}))
    (package / "index.cjs").write_text(code)


OPENING = {"S": 0.05, "B": 0.0, "L": 0.15, "O": 0.3, "V": 0.8}
KINDS = {"": "S"} | dict.fromkeys(["p", "b", "m", "pʰ", "mː"], "B") | dict.fromkeys("fv", "L") | dict.fromkeys("tsk", "O")


def _kind_at(example: Example, time_s: float) -> str:
    return next((KINDS.get(one.label, "V") for one in example.phones if one.start_s <= time_s < one.end_s), "S")


def naive_scores(
    examples: Sequence[Example], gaps_mm: Sequence[np.ndarray], *, lag_s: float = 0.0
) -> dict[str, dict[str, float]]:
    """{source: scores of its recordings}, by loops over frames and pairs."""
    found: dict[str, dict[str, list]] = {}
    for example, gap_mm in zip(examples, gaps_mm, strict=True):
        times = [frame / FPS - lag_s for frame in range(len(gap_mm))]
        lists = found.setdefault(example.row.source, {"B": [], "V": [], "r": [], "hit": [], "interior": []})
        kinds = [_kind_at(example, time) for time in times]
        for kind, value in zip(kinds, gap_mm, strict=True):
            if kind in "BV":
                lists[kind].append(value)
        lists["r"].append(np.corrcoef([OPENING[kind] for kind in kinds], gap_mm)[0, 1])
        for phone in example.phones:
            kind = KINDS.get(phone.label, "V")
            pad_s = 0.02 if kind == "B" else -0.03
            inside = [v for time, v in zip(times, gap_mm, strict=True) if phone.start_s - pad_s <= time <= phone.end_s + pad_s]
            if inside and kind in "BV":
                lists["hit" if kind == "B" else "interior"].append(min(inside))
    return {source: _summed_up(lists) for source, lists in found.items()}


def _summed_up(lists: dict[str, list]) -> dict[str, float]:
    wins = [1.0 if b < v else 0.5 if b == v else 0.0 for b in lists["B"] for v in lists["V"]]
    ascending = sorted(lists["interior"])
    place = 0.05 * (len(ascending) - 1)
    below, part = int(place), place - int(place)
    threshold = ascending[below] + part * (ascending[min(below + 1, len(ascending) - 1)] - ascending[below])
    under, equal = sum(gap < threshold for gap in ascending), sum(gap == threshold for gap in ascending)
    part = (below + 1 - under) / equal if under + equal > below + 1 else 1.0  # of equal gaps, those that may close
    closed = [1.0 if hit < threshold else part if hit == threshold else 0.0 for hit in lists["hit"]]
    return {
        "closure_auc": sum(wins) / len(wins),
        "opening_r": float(np.mean(lists["r"])),
        "pbm": sum(closed) / len(closed),
        "pbm_1mm": sum(hit <= 1.0 for hit in lists["hit"]) / len(lists["hit"]),
        "false_closures_1mm": sum(gap <= 1.0 for gap in ascending) / len(ascending),
        "n": len(lists["hit"]),
    }
