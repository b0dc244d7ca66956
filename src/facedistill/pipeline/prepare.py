"""Stage `prepare`: all corpora as one manifest, 16 kHz mono audio, timed phones and ground-truth rig curves."""

from collections import Counter

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import Utterance, write_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA, ROOT
from facedistill.corpora.recordings import import_recordings, librispeech_subset
from facedistill.corpora.synthetic import synthetic_corpus


def prepare(params: Params) -> None:
    """Writes data/prepare: manifest.jsonl, audio/, phones/, curves/ and summary.json.

    Raises:
        InputError: a corpus that the parameters name is missing or broken.
    """
    folder = DATA / "prepare"
    settings = params.prepare
    utterances = synthetic_corpus(folder, settings.synthetic, articulation=settings.articulation, seed=params.seed)
    if settings.recordings.path is not None:
        utterances += import_recordings(folder, ROOT / settings.recordings.path, settings.recordings.held_out)
    if settings.librispeech.root is not None:
        root, subsets = ROOT / settings.librispeech.root, settings.librispeech
        for split, names in {"unlabelled": subsets.unlabelled, "test-librispeech": subsets.test}.items():
            utterances += [row for name in names for row in librispeech_subset(folder, root, subset=name, split=split)]
    for key, count in Counter(row.id for row in utterances).items():
        if count > 1:
            raise InputError(f"prepare: utterance id {key!r} occurs twice; ids must differ across corpora")
    write_json(folder / "summary.json", summary(utterances))
    write_manifest(folder / "manifest.jsonl", utterances)


def summary(utterances: list[Utterance]) -> dict[str, dict[str, float | int]]:
    """Hours, utterances, speakers and languages of each split."""
    result = {}
    for split in dict.fromkeys(row.split for row in utterances):
        rows = [row for row in utterances if row.split == split]
        result[split] = {
            "hours": round(sum(row.duration_s for row in rows) / 3600, 3), "utterances": len(rows),
            "speakers": len({(row.source, row.speaker) for row in rows}), "languages": len({row.language for row in rows}),
        }  # fmt: skip
    return result
