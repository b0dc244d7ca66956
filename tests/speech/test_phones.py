import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.speech.phones import (
    ARPABET,
    CLASSES,
    CONSONANTS,
    MRPA,
    VOWELS,
    XSAMPA,
    Phone,
    classify,
    phoneset_of,
    read_phones,
    sounds,
    to_ipa,
    write_phones,
)

LABELS = st.sampled_from(["", "p", "aɪ", "ɔ̃", "tʃ", "ˈiː", "ɡʰ"])


@settings(deadline=None)  # files take as long as they take
@given(durations_us=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 10**6), LABELS), max_size=20))
def test_phones_survive_a_file(tmp_path_factory, durations_us):
    phones, clock_us = [], 0
    for pause_us, duration_us, label in durations_us:
        start_us, clock_us = clock_us + pause_us, clock_us + pause_us + duration_us
        phones.append(Phone(start_us / 1e6, clock_us / 1e6, label))
    path = tmp_path_factory.mktemp("phones") / "a.tsv"
    write_phones(path, phones)
    assert read_phones(path) == phones


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("0.0\t0.1\ta\n0.1\t0.2\n", "line 2 has 2"),
        ("0.0 0.1 a\n", "line 1 has 1"),
        ("zero\t0.1\ta\n", "line 1: 'zero'"),
        ("0.0\t0.1\ta\n0.05\t0.2\tb\n", "line 2: times 0.05"),
        ("0.2\t0.1\ta\n", "line 1: times 0.2"),
        ("-0.1\t0.1\ta\n", "line 1: times -0.1"),
        ("0.1\t0.1\ta\n", "line 1: times 0.1"),
        ("0.1\tnan\ta\n", "line 1: times 0.1"),
        ("0.1\tinf\ta\n", "line 1: times 0.1"),
    ],
)
def test_broken_phone_files_are_named_with_their_line(tmp_path, text, complaint):
    path = tmp_path / "broken.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as error:
        read_phones(path)
    assert str(path) in str(error.value)


def test_missing_and_binary_phone_files(tmp_path):
    with pytest.raises(InputError, match="missing.tsv"):
        read_phones(tmp_path / "missing.tsv")
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="binary.tsv"):
        read_phones(tmp_path / "binary.tsv")


@pytest.mark.parametrize(
    "description, phoneset",
    [
        (None, "ipa"),
        ("IPA (espeak-ng)", "ipa"),
        ('SAMPA-like (FalaBrasil); "#" = silence; "~" nasal', "sampa"),
        ("X-SAMPA", "sampa"),
        ("emu-ae (MRPA/SAMPA; H = aspiration/VOT segment after stop closure)", "mrpa"),
        ("cmu-radio (lower arpabet)", "arpabet"),
        ("MFA IPA/arpabet", "arpabet"),
        ("arpabet (CMUdict, no stress)", "arpabet"),
    ],
)
def test_phonesets_of_manifest_descriptions(description, phoneset):
    assert phoneset_of(description) == phoneset


def test_unknown_phonesets_are_refused():
    with pytest.raises(InputError, match="klingon"):
        phoneset_of("klingon")
    with pytest.raises(InputError, match="klingon"):
        to_ipa("a", "klingon")


@pytest.mark.parametrize("phoneset", ["ipa", "sampa", "mrpa", "arpabet"])
def test_silence_labels_of_every_phoneset(phoneset):
    assert {to_ipa(label, phoneset) for label in ("", "sil", "SIL", "pau", "sp", "spn", "#", "_", "<p:>")} == {""}


@pytest.mark.parametrize(
    "label, phoneset, ipa",
    [
        ("AE1", "arpabet", "æ"),
        ("HH", "arpabet", "h"),
        ("hh", "arpabet", "h"),
        ("ng", "arpabet", "ŋ"),
        ("IH0_B", "arpabet", "ɪ"),
        ("pcl", "arpabet", "p"),
        ("ax", "arpabet", "ə"),
        ("a~", "sampa", "a\u0303"),
        ("tS", "sampa", "tʃ"),
        ("J", "sampa", "ɲ"),
        ("@u", "mrpa", "əu"),
        ("i:", "mrpa", "iː"),
        ("H", "mrpa", "h"),
        ("pt", "mrpa", "pt"),
        ("r\\`", "sampa", "ɻ"),
        ("ˈɐ̃ʊ", "ipa", "ˈɐ̃ʊ"),
    ],
)
def test_labels_become_ipa(label, phoneset, ipa):
    assert to_ipa(label, phoneset) == ipa


@pytest.mark.parametrize("label, phoneset", [("qq", "arpabet"), ("ß", "sampa")])
def test_labels_outside_their_phoneset_are_refused(label, phoneset):
    with pytest.raises(InputError, match=label):
        to_ipa(label, phoneset)


def test_every_table_entry_that_stands_alone_is_a_known_sound():
    for ipa in {*ARPABET.values(), *XSAMPA.values(), *MRPA.values()}:
        assert classify(ipa) in CLASSES


@pytest.mark.parametrize(
    "ipa, letters",
    [
        ("aɪ", "aɪ"),
        ("ˈaʊː", "aʊ"),
        ("t͡ʃʰ", "tʃ"),
        ("ɐ̃", "ɐ"),
        ("ç", "ç"),
        ("ʤ", "dʒ"),
        ("r̝̊", "r"),
        ("ts.h", "tsh"),
        ("ˈi5", "i"),
        ("ˈA", "ɑ"),
        ("ʲ", "ʔ"),
        ("1", "ʔ"),
        ("(en)", ""),
        ("", ""),
    ],
)
def test_labels_are_decomposed(ipa, letters):
    assert "".join(sound.letter for sound in sounds(ipa)) == letters


def test_marks_stay_with_their_letter():
    first, second = sounds("kʷiː")
    assert (first.letter, first.marks, second.letter, second.marks) == ("k", "ʷ", "i", "ː")


def test_labels_without_a_known_letter_are_refused():
    for label in ("ж", "你", "HELP"):
        with pytest.raises(InputError, match=label):
            sounds(label)


@pytest.mark.parametrize(
    "kind, labels",
    {
        "silence": ["", "(en)"],
        "bilabial": ["p", "b", "m", "pʰ", "mʲ", "bː", "k͡p", "m̩", "pt", "ɓ"],
        "labiodental": ["f", "v", "ɱ", "fʲ", "ʋ"],
        "vowel": ["a", "ˈaɪ", "ɔ̃", "ɚ", "əl", "ʔʌ", "ˈ?ɑ", "y"],
        "other": ["t", "tʃ", "w", "β", "h", "ŋ", "ju", "θ", "ʔ"],
    }.items(),
)
def test_classes(kind, labels):
    assert {label: classify(label) for label in labels} == dict.fromkeys(labels, kind)


@pytest.mark.parametrize(
    ("label", "phoneset", "expected"),
    [
        ("SIL", "arpabet", "silence"), ("<p:>", "SAMPA", "silence"), ("fp", "arpabet", "silence"), ("P", "cmu-radio", "bilabial"),
        ("mː", "IPA", "bilabial"), ("F", "arpabet", "labiodental"), ("V", "arpabet", "labiodental"), ("V", "SAMPA", "vowel"),
        ("AA1", "MFA IPA/arpabet", "vowel"), ("ay", "arpabet", "vowel"), ("aj", "IPA", "vowel"), ("ng", "arpabet", "other"),
        ("O", "MRPA/SAMPA", "vowel"), ("Om", "MRPA/SAMPA", "bilabial"), ("pt", "SAMPA", "bilabial"), ("db", "SAMPA", "bilabial"),
        ("Q", "SAMPA", "vowel"), ("@", "SAMPA", "vowel"), ("ˈaɪ", "ipa", "vowel"), ("ˈp", "ipa", "bilabial"),
        ("a~", "SAMPA", "vowel"), ("pf", "IPA", "bilabial"),
    ],
)  # fmt: skip
def test_labels_of_every_alphabet_have_one_class(label, phoneset, expected):
    assert classify(to_ipa(label, phoneset_of(phoneset))) == expected


def test_letters_belong_to_one_place():
    letters = [*VOWELS, *"".join(CONSONANTS.values())]
    assert len(letters) == len(set(letters))
