"""Absolute paths of the project, in one place. Every stage writes only below its own folder of `data/`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "data"
FIGURES = ROOT / "figures"
NOTEBOOKS = ROOT / "notebooks"
PARAMS = ROOT / "params.yaml"
PROFILES = ROOT / "profiles"
SENTENCES = DATA / "sentences"
ENCODER = DATA / "encoder"  # the committed pretrained encoder
WORK = ROOT / ".work"  # resumable state of unfinished stages, never tracked
EXECUTED = ROOT / "notebooks" / "executed"
