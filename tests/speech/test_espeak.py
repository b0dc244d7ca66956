"""Synthesis: the same call gives the same bytes, phones tile the audio, plosives own their closure."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import espeakng_loader
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.speech import espeak
from facedistill.speech.espeak import STRESS_MARKS, VARIANTS, Voice, languages, synthesize, variants
from facedistill.speech.phones import Phone

TEXT = "The happy puppet, maybe, took a map of the office."
NOISY = Voice("en-us", "f3")  # breath and echo: noise and memory
KLATT = Voice("en-us", "caleb")  # noise from the C library
CLOCK_STEP_S = 1.1  # espeak-ng seeds its noise from the clock, in seconds, unless told otherwise


def labels(phones: list[Phone]) -> list[str]:
    return [phone.label.lstrip(STRESS_MARKS) for phone in phones if phone.label]


def tiles(phones: list[Phone], duration_s: float) -> bool:
    edges = [0.0, *(phone.end_s for phone in phones)]
    touching = all(phone.start_s == edge < phone.end_s for phone, edge in zip(phones, edges[:-1], strict=True))
    return touching and phones[-1].end_s == duration_s


def digest(voice: Voice) -> str:
    audio, phones = synthesize(TEXT, voice)
    return hashlib.sha256(audio.tobytes() + repr(phones).encode()).hexdigest()


@pytest.mark.parametrize("voice", [NOISY, KLATT], ids=lambda voice: voice.variant)
def test_same_call_same_bytes_whatever_was_spoken_before_and_when(voice):
    first = digest(voice)
    synthesize("Guten Morgen, wie geht es?", Voice("de", "klatt3", rate_wpm=240, pitch=80))
    time.sleep(CLOCK_STEP_S)
    assert digest(voice) == first


def test_same_bytes_in_another_process():
    code = f"""
import hashlib
from facedistill.speech.espeak import Voice, synthesize
for voice in {NOISY}, {KLATT}:
    audio, phones = synthesize({TEXT!r}, voice)
    print(hashlib.sha256(audio.tobytes() + repr(phones).encode()).hexdigest())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert other.stdout.split() == [digest(NOISY), digest(KLATT)]


def test_audio_and_phones_of_an_english_sentence():
    audio, phones = synthesize("Five happy boys.", Voice("en-us", "m3"))
    assert audio.dtype == np.float32 and audio.ndim == 1 and 0.05 < np.abs(audio).max() <= 1
    assert labels(phones) == ["f", "aɪ", "v", "h", "æ", "p", "i", "b", "ɔɪ", "z"]
    assert tiles(phones, len(audio) / SAMPLE_RATE_HZ)


@pytest.mark.parametrize("language", ["de", "ru", "cmn", "ja"])
def test_phones_tile_the_audio_and_pauses_are_silent(language):
    text = {"de": "Ja, bitte.", "ru": "Да, можно.", "cmn": "好 , 谢谢 。", "ja": "はい 、 どうぞ 。"}[language]
    audio, phones = synthesize(text, Voice(language, "m1"))
    assert tiles(phones, len(audio) / SAMPLE_RATE_HZ)
    pause = max((phone for phone in phones if not phone.label), key=lambda phone: phone.end_s - phone.start_s)
    inside = audio[round(pause.start_s * SAMPLE_RATE_HZ) + 160 : round(pause.end_s * SAMPLE_RATE_HZ) - 160]
    assert np.abs(inside).max() < 0.02 * np.abs(audio).max()


@pytest.mark.parametrize("variant", ["m1", "f2", "f4", "linda"])
def test_closure_belongs_to_the_plosive(variant):
    _, phones = synthesize("A happy copper cup, a map, a puppy.", Voice("en-us", variant))
    durations_s = [phone.end_s - phone.start_s for phone in phones if phone.label == "p"]
    assert len(durations_s) == 6
    assert np.median(durations_s) > 0.06  # the burst alone lasts 33 ms


def test_closure_stops_at_sound_and_at_half_of_the_phone_before():
    rate_hz, block = 22050, round(espeak.QUIET_BLOCK_S * 22050)
    samples = np.full(rate_hz, 1000, np.int16)
    samples[8 * block : 12 * block] = 0  # a closure of four blocks before the burst
    assert espeak._with_closures([0, 12 * block], ["a", "t"], samples, rate_hz) == [0, 8 * block]
    assert espeak._with_closures([0, 12 * block], ["a", "s"], samples, rate_hz) == [0, 12 * block]
    samples[: 12 * block] = 0
    assert espeak._with_closures([0, 12 * block], ["a", "ˈt"], samples, rate_hz) == [0, 6 * block]
    assert espeak._with_closures([0, 12 * block], ["", "t"], samples, rate_hz) == [0, 0]


@settings(max_examples=50, deadline=None)
@given(
    starts=st.lists(st.integers(0, 12_000), min_size=1, max_size=12).map(sorted),
    names=st.lists(st.sampled_from(["", "p", "ˈa", "tʃ", "m"]), min_size=12, max_size=12),
    seed=st.integers(0, 99),
)
def test_any_marks_become_contiguous_phones_without_adjacent_silences(starts, names, seed):
    samples = np.random.default_rng(seed).integers(-3000, 3000, 12_600).astype(np.int16)
    samples[np.random.default_rng(seed).random(12_600) < 0.5] = 0
    samples[3000:9000] //= 100
    phones = espeak._phones(list(zip(starts, names, strict=False)), samples, 22050)
    assert tiles(phones, 12_600 / 22050)
    assert not any(a.label == b.label == "" for a, b in zip(phones, phones[1:], strict=False))


def test_variants_are_many_usable_and_different():
    assert len(set(VARIANTS)) == len(VARIANTS) >= 60 and set(VARIANTS) <= set(variants())
    spoken = [synthesize("Mama.", Voice("it", variant))[0] for variant in VARIANTS]
    assert all(np.isfinite(audio).all() and np.sqrt(np.mean(audio**2)) > 0.01 for audio in spoken)
    assert len({audio.tobytes() for audio in spoken}) == len(VARIANTS)


def test_speakers_have_the_formants_of_a_human_vocal_tract():
    for variant in VARIANTS:
        lines = Path(espeakng_loader.get_data_path(), "voices", "!v", variant).read_text(errors="replace").splitlines()
        formants = {line.split()[1]: float(line.split()[2]) for line in lines if line.split()[:1] == ["formant"]}
        for number in ("1", "2"):  # in percent of an adult man's; a small child's are some 40 % higher
            assert 70 <= formants.get(number, 100) <= 140, (variant, number)


def test_rate_and_pitch_are_obeyed():
    slow, fast = (len(synthesize(TEXT, Voice("en-gb", "m1", rate_wpm=rate))[0]) for rate in (120, 240))
    assert slow > 1.5 * fast
    low, high = (synthesize("ah", Voice("en-gb", "m1", pitch=pitch, pitch_range=0))[0] for pitch in (10, 90))

    def period(audio):
        middle = audio[len(audio) // 2 - 400 : len(audio) // 2 + 400]
        return 32 + np.argmax(np.correlate(middle, middle, "full")[799 + 32 : 799 + 400])

    assert period(low) > 1.2 * period(high)


def test_names_that_espeak_spells_otherwise_are_found():
    assert {"en-us", "en-gb", "de", "fr-fr", "cmn", "ja", "pt-br"} <= set(languages())
    assert "ʁ" in labels(synthesize("Paris", Voice("fr-fr", "m1"))[1])  # the voice file is called fr


@pytest.mark.parametrize(
    ("text", "language", "variant", "message"),
    [
        ("Hi.", "xx", "m1", "language 'xx'.*expected .*en-us"),
        ("Hi.", "en-us", "nobody", "variant 'nobody'.*expected .*m1"),
        ("", "en-us", "m1", "nothing to speak"),
        (" ... ", "en-us", "m1", "nothing to speak"),
    ],
)
def test_bad_input_is_named(text, language, variant, message):
    with pytest.raises(InputError, match=message):
        synthesize(text, Voice(language, variant))


@pytest.mark.parametrize("bad", [{"rate_wpm": 79}, {"rate_wpm": 351}, {"pitch": 100}, {"pitch_range": -1}])
def test_numbers_out_of_range_are_refused(bad):
    with pytest.raises(InputError, match="expected "):
        Voice("de", "m1", **bad)
