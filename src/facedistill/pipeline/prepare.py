"""Stage `prepare`: all corpora as one manifest, 16 kHz mono audio, timed phones and ground-truth rig curves."""

from collections import Counter

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, hours, select, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA
from facedistill.corpora.recordings import reader_of
from facedistill.corpora.synthetic import synthetic_corpus


def prepare(params: Params) -> None:
    """Writes data/prepare: manifest.jsonl, audio/, phones/, curves/ and summary.json."""
    folder, settings = DATA / "prepare", params.prepare
    rows = synthetic_corpus(folder, settings.synthetic, articulation=settings.articulation, seed=params.seed)
    for corpus in settings.corpora:
        rows += reader_of(corpus)(folder)
    for key, count in Counter(row.id for row in rows).items():
        if count > 1:
            raise InputError(f"prepare: utterance id {key!r} occurs twice; ids must differ across corpora")
    splits = dict.fromkeys(row.split for row in rows)
    write_json(folder / "summary.json", {split: _amount(select(rows, split)) for split in splits})
    write_manifest(folder / "manifest.jsonl", rows)


def _amount(rows: list[Utterance]) -> dict[str, float | int]:
    return {
        "hours": round(hours(rows), 3), "utterances": len(rows),
        "speakers": len({(row.source, row.speaker) for row in rows}), "languages": len({row.language for row in rows}),
    }  # fmt: skip
