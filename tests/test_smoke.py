"""The whole pipeline runs on the smoke profile, and a second run has nothing to do."""

from pathlib import Path

from smoke import ROOT, dvc, run_smoke


def test_the_whole_pipeline_runs_on_the_smoke_profile(tmp_path: Path):
    made = run_smoke(tmp_path)
    notebooks = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {"prepare", "teach", "label", "evaluate", *notebooks} <= set(made)
    lock = (tmp_path / "dvc.lock").read_bytes()
    assert "up to date" in dvc(tmp_path, "repro")
    assert (tmp_path / "dvc.lock").read_bytes() == lock
