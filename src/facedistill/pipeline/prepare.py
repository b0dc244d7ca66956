"""Stage `prepare`: all corpora as one manifest, 16 kHz mono audio, timed phones and ground-truth rig curves."""

from collections import Counter

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, hours, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA, ROOT
from facedistill.corpora.recordings import import_recordings, librispeech_subset
from facedistill.corpora.synthetic import synthetic_corpus


def prepare(params: Params) -> None:
    """Writes data/prepare: manifest.jsonl, audio/, phones/, curves/ and summary.json."""
    folder, settings = DATA / "prepare", params.prepare
    rows = synthetic_corpus(folder, settings.synthetic, articulation=settings.articulation, seed=params.seed)
    if settings.recordings.path is not None:
        rows += import_recordings(folder, ROOT / settings.recordings.path, settings.recordings.held_out)
    if settings.librispeech.root is not None:
        for split, subsets in {
            "unlabelled": settings.librispeech.unlabelled,
            "test-librispeech": settings.librispeech.test,
        }.items():
            for subset in subsets:
                rows += librispeech_subset(folder, ROOT / settings.librispeech.root, subset=subset, split=split)
    for key, count in Counter(row.id for row in rows).items():
        if count > 1:
            raise InputError(f"prepare: utterance id {key!r} occurs twice; ids must differ across corpora")
    write_json(
        folder / "summary.json", {split: _amount(select(rows, split)) for split in dict.fromkeys(row.split for row in rows)}
    )
    write_manifest(folder / "manifest.jsonl", rows)


def _amount(rows: list[Utterance]) -> dict[str, float | int]:
    return {
        "hours": round(hours(rows), 3), "utterances": len(rows),
        "speakers": len({(row.source, row.speaker) for row in rows}), "languages": len({row.language for row in rows}),
    }  # fmt: skip
