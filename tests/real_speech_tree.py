"""A small tree of labelled recordings, false peers, and the measures of the benchmark once more, as plainly as can be."""

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.arkit import CURVES
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.real_speech import peers
from facedistill.real_speech.gaps import GAP, classes_at
from facedistill.real_speech.recordings import OPENING, Recording
from facedistill.real_speech.settings import FOLDER
from facedistill.speech.audio import write_flac

FPS = 30
ALPHABETS = {
    "lab": ("SAMPA-like", ["#", "p", "a", "m", "O", "t", "b", "E", "f", "s", "i"]),
    "studio": ("arpabet (lower case)", ["sil", "p", "aa1", "m", "ow", "t", "b", "eh", "v", "s", "iy0"]),
    "field": ("IPA", ["", "pʰ", "ɐ", "mː", "ɔː", "t", "b", "ɛ", "f", "Q", "i"]),
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
                times = np.concatenate([[0], np.cumsum(rng.choice([0.04, 0.1, 0.15, 1 / 15], 18))]).round(6)
                chosen = [labels[index] for index in rng.permutation(len(labels)).tolist() * 2][: len(times) - 1]
                phones = "".join(
                    f"{start:.6f}\t{end:.6f}\t{label}\n" for start, end, label in zip(times, times[1:], chosen, strict=False)
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


def make_folder(root: Path, manifest: Path, **changes) -> Path:
    """The benchmark's folder with its own parameters, made small; `changes` replace values."""
    values = yaml.safe_load((FOLDER / "params.yaml").read_text())
    values |= {"manifest": f"../{manifest.relative_to(root)}", "bootstrap": 20, "peers": [], "variants": []}
    values["conditions"] |= {"max_recordings": 1, "levels_db": [-20.0], "snr_db": [10.0]}
    values["quiet"] |= {"duration_s": 1.0, "levels_db": [-50.0]}
    values["lag"] |= {"step_ms": 50}
    folder = root / "bench"
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(values | changes))
    return folder


def write_random_curves(manifest: Path, out: Path, *, seed: int = 0, levels: int | None = None) -> None:
    """Curves of every recording; of few `levels`, so that gaps tie, if given."""
    rng = np.random.default_rng(seed)
    for row in map(json.loads, manifest.read_text().splitlines()):
        weights = rng.uniform(0, 1, (int(np.ceil(row["duration_s"] * FPS)), len(CURVES))) ** 3
        if levels:
            weights[:] = (rng.integers(0, levels, len(weights)) / levels)[:, None]
        registry.write(out / f"{row['id'].split('/')[-1]}.csv", regular(CURVES, weights.round(6), FPS), kind="csv")


def write_labels_as_curves(recordings: Sequence[Recording], out: Path, *, late_s: float) -> None:
    """Jaws that open as far as `OPENING` of the phones says, and as late as asked."""
    for recording in recordings:
        times_s = np.arange(int(np.ceil(recording.row.duration_s * FPS))) / FPS
        opening = OPENING[classes_at(recording, times_s - late_s)]
        registry.write(out / f"{recording.name}.csv", regular(("jawOpen",), opening[:, None], FPS), kind="csv")


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


def naive_scores(manifest: Path, curves: Path, *, lag_s: float = 0.0) -> dict[str, dict[str, float]]:
    """{source: AUC, r, PBM and n of its test recordings}, by loops over frames and pairs."""
    found: dict[str, dict[str, list]] = {}
    for row in map(json.loads, manifest.read_text().splitlines()):
        if row["split"] != "test":
            continue
        animation = registry.read(curves / f"{row['id'].split('/')[-1]}.csv")
        gap = [sum(GAP[n] * w for n, w in zip(animation.names, frame, strict=True) if n in GAP) for frame in animation.weights]
        times = [t - lag_s for t in animation.times_s]
        lines = (manifest.parent / row["phones"]).read_text(encoding="utf-8").splitlines()
        phones = [(float(a), float(b), naive_class(p)) for a, b, p in (line.split("\t") for line in lines)]
        lists = found.setdefault(row["source"], {"B": [], "V": [], "r": [], "hit": [], "interior": []})
        opening = []
        for time, value in zip(times, gap, strict=True):
            kind = next((k for a, b, k in phones if a <= time < b), "S")
            opening.append({"S": 0.05, "B": 0.0, "L": 0.15, "O": 0.3, "V": 0.8}[kind])
            if kind in "BV":
                lists[kind].append(value)
        lists["r"].append(np.corrcoef(opening, gap)[0, 1])
        for start, end, kind in phones:
            low, high = (start - 0.02, end + 0.02) if kind == "B" else (start + 0.03, end - 0.03)
            inside = [value for time, value in zip(times, gap, strict=True) if low <= time <= high]
            if inside and kind in "BV":
                lists["hit" if kind == "B" else "interior"].append(min(inside))
    return {source: _summed_up(lists) for source, lists in found.items()}


def naive_class(label: str) -> str:
    """Of the labels of `ALPHABETS`; "Q" is a vowel in SAMPA, and not in IPA, where it is."""
    bare = re.sub(r"[0-9]$", "", label)
    if bare in ("#", "sil", ""):
        return "S"
    if bare in ("p", "b", "m", "pʰ", "mː"):
        return "B"
    if bare in ("f", "v"):
        return "L"
    return "O" if bare in ("t", "s", "Q") else "V"


def _summed_up(lists: dict[str, list]) -> dict[str, float]:
    wins = [1.0 if b < v else 0.5 if b == v else 0.0 for b in lists["B"] for v in lists["V"]]
    ascending = sorted(lists["interior"])
    place = 0.05 * (len(ascending) - 1)
    below, part = int(place), place - int(place)
    threshold = ascending[below] + part * (ascending[min(below + 1, len(ascending) - 1)] - ascending[below])
    return {
        "auc": sum(wins) / len(wins),
        "r": float(np.mean(lists["r"])),
        "pbm": sum(hit <= threshold for hit in lists["hit"]) / len(lists["hit"]),
        "n": len(lists["hit"]),
    }
