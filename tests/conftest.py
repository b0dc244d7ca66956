"""Small corpora that the tests make: no test needs a download or anything outside the repository."""

from pathlib import Path

import numpy as np
import pytest
from configurations import params_of

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.manifest import Utterance, rebase_paths, write_manifest
from facedistill.core.params import Params
from facedistill.rig.curves import n_frames, write_shard
from facedistill.speech.audio import write_flac


@pytest.fixture(scope="session")
def smoke_params() -> Params:
    return params_of("smoke")


@pytest.fixture
def corpus_folder(tmp_path: Path) -> Path:
    """data/prepare with three paired and two unlabelled utterances of tones, whose loudness moves curves; and data/align."""
    folder, rng, rows, curves = tmp_path / "data" / "prepare", np.random.default_rng(0), [], {}
    for number, split in enumerate(["paired"] * 3 + ["unlabelled"] * 2):
        time_s = np.arange(int((1.5 + 0.3 * number) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
        loudness = 0.5 + 0.5 * np.sin(2 * np.pi * rng.uniform(1, 4) * time_s)
        audio = (0.3 * loudness * np.sin(2 * np.pi * rng.uniform(200, 2000) * time_s)).astype(np.float32)
        key = f"u{number}"
        write_flac(folder / f"audio/{key}.flac", audio)
        curves[key] = np.repeat(np.interp(np.arange(n_frames(len(audio))) / 60, time_s, loudness)[:, None], 52, axis=1)
        rows.append(
            Utterance(
                id=key, source="tones", speaker=key, language="und", split=split, audio=f"audio/{key}.flac",
                duration_s=len(audio) / SAMPLE_RATE_HZ, curves="curves/s.npz" if split == "paired" else None,
            )
        )  # fmt: skip
    write_shard(folder / "curves/s.npz", curves)
    write_manifest(folder / "manifest.jsonl", rows)
    write_manifest(tmp_path / "data" / "align" / "manifest.jsonl", [rebase_paths(row, "../prepare") for row in rows])
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest goes first, so that no process waits for another in the end."""
    longest = ["test_smoke.py", "test_web.py"]
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))
