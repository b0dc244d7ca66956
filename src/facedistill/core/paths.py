"""Absolute paths of the project, in one place. Every stage writes only below its own folder of `data/`."""

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
ROOT = PACKAGE.parents[1]
BENCHMARKS = ROOT / "benchmarks"
RESULTS, DETAILS = (BENCHMARKS / "real_speech" / f"{name}.json" for name in ("results", "details"))  # on recorded speech
CONFIGS = ROOT / "configs"
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params.yaml"
SENTENCES = DATA / "sentences"
WORK = ROOT / ".work"  # resumable state of unfinished stages, never tracked
DURATION_NOTES = WORK / "durations.jsonl"  # a line for each stage that ended
EXECUTED = ROOT / "notebooks" / "executed"
HEAD = (PACKAGE if (PACKAGE / "face").is_dir() else DATA) / "face" / "face.glb"  # a wheel has it in the package, see setup.py
LIGHT_HEAD = HEAD.with_name("face-light.glb")
