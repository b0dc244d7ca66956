import json

import numpy as np
import pytest
import soundfile as sf

from facedistill.core.errors import InputError
from facedistill.corpora.recordings import import_recordings, librispeech
from facedistill.speech.audio import read_audio
from facedistill.speech.phones import read_phones


def tone(rate_hz: int, channels: int = 1) -> np.ndarray:
    wave = 0.3 * np.sin(np.arange(rate_hz) * 0.1)
    return wave if channels == 1 else np.stack([wave] * channels, axis=1)


def test_a_folder_of_anything_is_unlabelled(tmp_path):
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    sf.write(source / "a.wav", tone(44_100, channels=2), 44_100)
    sf.write(source / "deep" / "b c.ogg", tone(48_000), 48_000)
    sf.write(source / "deep" / "d.MP3", tone(8000), 8000, format="MP3")
    (source / "notes.txt").write_text("not audio")
    rows = import_recordings(tmp_path / "out", str(source))
    assert [row.id for row in rows] == ["in-a", "in-deep_b_c", "in-deep_d"]
    assert {row.split for row in rows} == {"unlabelled"}
    for row in rows:
        assert len(read_audio(tmp_path / "out" / row.audio)) / 16_000 == pytest.approx(row.duration_s, abs=1e-6)
        assert row.duration_s == pytest.approx(1.0, abs=0.15)


def test_labels_and_transcripts_are_found_beside_recordings(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in "ab":
        sf.write(source / f"{name}.wav", tone(16_000), 16_000)
    (source / "a.tsv").write_text("0.0\t0.5\tm\n0.5\t1.0\ta\n")
    (source / "b.txt").write_text("a few\nwords\n")
    test, train = import_recordings(tmp_path / "out", str(source))
    assert (test.split, train.split, train.transcript) == ("test-recordings", "unlabelled", "a few words")
    assert [phone.label for phone in read_phones(tmp_path / "out" / test.phones)] == ["m", "a"]


def manifest_row(**changes) -> dict:
    row = {
        "id": "x/1", "source": "s", "speaker": "p", "language": "pt-BR", "split": "test", "audio": "x.wav", "duration_s": 1.0,
        "transcript": None, "phones": "x.tsv", "phoneset": "arpabet (lower case, no stress)", "label_kind": "hand",
        "curves": None, "licence": "CC0", "something_else": 1,
    }  # fmt: skip
    return row | changes


def test_a_manifest_brings_labels_and_splits(tmp_path):
    sf.write(tmp_path / "x.wav", tone(22_050), 22_050)
    (tmp_path / "x.tsv").write_text("0.0\t0.2\tsil\n0.2\t0.5\tb\n0.5\t1.0\taa\n")
    rows = [manifest_row(), manifest_row(id="2", split="train", phones=None), manifest_row(id="3", phones=None)]
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    test, train = import_recordings(tmp_path / "out", str(tmp_path / "manifest.jsonl"))  # a test row without labels is of no use
    assert (test.id, test.split, test.label_kind, test.phoneset) == ("s-x_1", "test-recordings", "hand", "ipa")
    assert (train.split, train.phones) == ("unlabelled", None)
    assert [phone.label for phone in read_phones(tmp_path / "out" / test.phones)] == ["", "b", "ɑː"]


@pytest.mark.parametrize(
    "content, message",
    [
        ("not json\n", "line 1 is not an utterance"),
        ('{"id": "a"}\n', "missing"),
        ("[]\n", "line 1"),
        ("", "no recordings"),
        (json.dumps(manifest_row(audio=5)), "line 1 is not an utterance .audio: 5 is no str"),
        ("\udcff", "cannot be read as a manifest"),
    ],
)
def test_bad_manifests_are_named(tmp_path, content, message):
    (tmp_path / "m.jsonl").write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=message):
        import_recordings(tmp_path / "out", str(tmp_path / "m.jsonl"))
    with pytest.raises(InputError, match="no such manifest"):
        import_recordings(tmp_path / "out", str(tmp_path / "none.jsonl"))


def librispeech_tree(root, rate_hz: int = 16_000) -> None:
    folder = root / "LibriSpeech" / "test-clean" / "61" / "70968"
    folder.mkdir(parents=True)
    for number in range(2):
        sf.write(folder / f"61-70968-{number:04d}.flac", tone(rate_hz), rate_hz)
    (folder / "61-70968.trans.txt").write_text("61-70968-0000 HE BEGAN\n61-70968-0001 GIVE NOT SO EARNEST\n")


def test_librispeech_is_used_where_it_lies(tmp_path):
    librispeech_tree(tmp_path)
    out = tmp_path / "data" / "prepare"
    rows = librispeech(out, str(tmp_path), unlabelled=(), test=("test-clean",))
    assert [(row.id, row.speaker, row.transcript) for row in rows] == [
        ("61-70968-0000", "61", "HE BEGAN"),
        ("61-70968-0001", "61", "GIVE NOT SO EARNEST"),
    ]
    out.mkdir(parents=True)
    assert len(read_audio(out / rows[0].audio)) == 16_000 and rows[0].duration_s == 1.0


def test_librispeech_that_is_not_there_or_not_16k(tmp_path):
    with pytest.raises(InputError, match="prepare.corpora: .*test-other is not there"):
        librispeech(tmp_path, str(tmp_path), unlabelled=(), test=("test-other",))
    librispeech_tree(tmp_path, rate_hz=8000)
    with pytest.raises(InputError, match="8000 Hz, 1 channels; expected 16000 Hz"):
        librispeech(tmp_path, str(tmp_path), unlabelled=(), test=("test-clean",))
