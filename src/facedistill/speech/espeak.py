"""Speech with exactly known phone times: espeak-ng in process, through the shared library of the `espeakng-loader` wheel.

It is loaded afresh for every utterance, in 3 ms: espeak-ng keeps oscillator phases, noise seeds and gain control in static
variables that its own initialisation does not reset. Not safe for threads (one engine per process); use processes.
"""

import ctypes
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import count, takewhile
from pathlib import Path

import espeakng_loader
import numpy as np

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.speech.audio import resample
from facedistill.speech.phones import Phone

# Constants of espeak-ng's speak_lib.h (version 1.52).
AUDIO_OUTPUT_SYNCHRONOUS = 2
INITIALIZE_FLAGS = 0x0001 | 0x0002 | 0x8000  # phoneme events, named in IPA; return an error instead of exiting
CHARS_UTF8, POSITION_CHARACTER = 1, 1
PARAMETERS = (1, 3, 4)  # rate, pitch and pitch range
EVENT_LIST_TERMINATED, EVENT_PHONEME = 0, 7
LANGUAGE = re.compile(r"^language[ \t]+(\S+)(?:[ \t]+(\d+))?", re.MULTILINE)  # of a voice file: a name, and how well it serves
NOISE_SEED = 1  # breath and frication; otherwise seeded from the clock

STRESS_MARKS = "ˈˌ"
PLOSIVE_STARTS = tuple("pbtdʈɖcɟkɡgqɢʔɓɗɠ")  # affricates start with a plosive too
MAX_CLOSURE_S = 0.08
QUIET_BLOCK_S = 0.0025
QUIET_RATIO = 0.04  # of the utterance's peak: silence plus the faint echo of some variants

# The variants that serve as speakers. Left out: whispers and croaks (no voicing), robots and rooms (strong echo, which also
# hides closures), clipped voices (iven, Jacky, antonio), a chipmunk (zac, 350 Hz), and near copies of another variant
# (Gene2, edward2, klatt2, klatt5, klatt6, miguel, "Mr serious"); and two whose first formant is at most half of a man's, which
# no vocal tract gives (kaukovalta 40 %, travis 50 %).
VARIANTS = tuple(
    """
    Alex Andrea Andy Annie AnxiousAndy Denis Diogo Gene Henrique Hugo Lee Mario Michael Mike Nguyen Reed Storm
    Tweaky adam anika aunty belinda benjamin boris caleb david ed edward f1 f2 f3 f4 f5 fast grandma grandpa
    gustave ian iven2 iven3 iven4 john klatt klatt3 klatt4 linda m1 m2 m3 m4 m5 m6 m7 m8 marcelo max
    michel mike2 norbert paul pedro quincy rob robert sandro shelby steph steph2 steph3 victor
    """.split()
)
NAMES = {"zh": "cmn", "cmn-cn": "cmn", "zh-cn": "cmn", "en": "en-us", "no": "nb", "fr": "fr-fr"}  # tag -> espeak-ng's name


@dataclass(frozen=True)
class Voice:
    """A language of `languages()`, a variant of `variants()`, words a minute, and espeak's 0-99 pitch and pitch range."""

    language: str
    variant: str
    rate_wpm: int = 175
    pitch: int = 50
    pitch_range: int = 50

    def __post_init__(self) -> None:
        # Above 380 words a minute espeak compresses the audio, and its event times no longer match.
        for key, (low, high) in {"rate_wpm": (80, 350), "pitch": (0, 99), "pitch_range": (0, 99)}.items():
            if not low <= getattr(self, key) <= high:
                raise InputError(f"voice {key}: {getattr(self, key)}; expected {low} to {high}")
        # espeak falls back to other voices silently, so names are checked here.
        if self.language not in languages():
            raise InputError(f"language {self.language!r}: unknown to espeak-ng; expected {' '.join(languages())}")
        if self.variant not in variants():
            raise InputError(f"voice variant {self.variant!r}: unknown to espeak-ng; expected {', '.join(variants())}")


class _Event(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("type", "unique_identifier", "text_position", "length", "audio_position", "sample")),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),  # of a union, in which a phoneme's name is text, which is cut after 8 bytes
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def synthesize(text: str, voice: Voice) -> tuple[np.ndarray, list[Phone]]:
    """A text as (S,) float32 at 16 kHz in +-1, the same in any process, and contiguous phones in IPA with stress, silences ""."""
    samples, marks, rate_hz = _speak(text, voice)
    if not any(label for _, label in marks):
        raise InputError(f"text {text!r}: nothing to speak in language {voice.language}")
    audio = np.clip(resample(samples.astype(np.float32) / 2**15, rate_hz), -1, 1)  # resampling overshoots
    phones = _phones(marks, samples, rate_hz)
    phones[-1] = replace(phones[-1], end_s=len(audio) / SAMPLE_RATE_HZ)  # resampling rounds the length up
    return audio, phones


def languages() -> tuple[str, ...]:
    """The names of all languages of the wheel, sorted."""
    return tuple(sorted(_identifiers()))


@cache
def variants() -> tuple[str, ...]:
    """The names of all voice variants of the wheel, sorted; `VARIANTS` are the ones that serve as speakers."""
    return tuple(sorted(path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir()))


@cache
def language_of(tag: str) -> str:
    """espeak-ng's name of the language that a manifest names: "de-DE" is "de", "en (L1 Mandarin)" is "en-us"."""
    plain = re.split(r"[\s(]", tag.strip().lower().replace("_", "-"), maxsplit=1)[0]
    for name in (plain, plain.partition("-")[0]):
        if NAMES.get(name, name) in languages():
            return NAMES.get(name, name)
    raise InputError(f"language {tag!r}: espeak-ng does not speak it; expected {' '.join(languages())}")


def pronounce(text: str, tag: str) -> list[str]:
    """The IPA labels of a text as espeak-ng reads it in the language of `tag`, see `language_of`; without silences."""
    _, phones = synthesize(text, Voice(language_of(tag), "Alex"))  # pronunciation does not depend on the variant
    return [phone.label for phone in phones if phone.label]


@contextmanager
def _engine() -> Iterator[tuple[ctypes.CDLL, int]]:
    """Yields a freshly loaded and initialised library and its sample rate; unloads it afterwards."""
    library, data = ctypes.CDLL(espeakng_loader.get_library_path()), espeakng_loader.get_data_path()
    with ExitStack() as end:
        end.callback(ctypes.CDLL(None).dlclose, ctypes.c_void_p(library._handle))
        rate_hz = library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), INITIALIZE_FLAGS)
        if rate_hz <= 0:
            raise InputError(f"{data}: espeak-ng cannot read its data; reinstall espeakng-loader")
        end.callback(library.espeak_Terminate)
        yield library, rate_hz


@cache
def _identifiers() -> dict[str, str]:
    """espeak's best voice file of each language name: "en-gb" is spoken by "gmw/en", and espeak finds it by the latter alone."""
    folder, best = Path(espeakng_loader.get_data_path(), "lang"), {}
    for path in filter(Path.is_file, folder.rglob("*")):
        for name, priority in LANGUAGE.findall(path.read_text(encoding="utf-8")):
            ranked = int(priority or 5), path.relative_to(folder).as_posix()
            best[name] = min(ranked, best.get(name, ranked))
    return {name: identifier for name, (_, identifier) in best.items()}


def _speak(text: str, voice: Voice) -> tuple[np.ndarray, list[tuple[int, str]], int]:
    """Runs espeak-ng: (S,) int16 samples, the (sample, label) of each phone's start, and the sample rate."""
    chunks: list[bytes] = []
    marks: list[tuple[int, str]] = []

    @_Callback
    def collect(samples, n_samples, events):
        if samples and n_samples > 0:
            chunks.append(ctypes.string_at(samples, n_samples * ctypes.sizeof(ctypes.c_short)))
        for event in takewhile(lambda event: event.type != EVENT_LIST_TERMINATED, map(events.__getitem__, count())):
            label = event.id.decode("utf-8", errors="ignore").strip()
            if event.type == EVENT_PHONEME and not label.startswith("("):  # "(en)": the rules of another language from here on
                marks.append((event.sample, label))
        return 0

    with _engine() as (library, rate_hz):
        library.espeak_SetSynthCallback(collect)
        if library.espeak_SetVoiceByName(f"{_identifiers()[voice.language]}+{voice.variant}".encode()) != 0:
            raise InputError(f"voice {voice.language}+{voice.variant}: espeak-ng cannot load it")
        for parameter, value in zip(PARAMETERS, (voice.rate_wpm, voice.pitch, voice.pitch_range), strict=True):
            library.espeak_SetParameter(parameter, value, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(NOISE_SEED))
        ctypes.CDLL(None).srand(NOISE_SEED)  # the Klatt voices draw their noise from the C library instead
        content = text.encode()
        library.espeak_Synth(content, len(content) + 1, 0, POSITION_CHARACTER, 0, CHARS_UTF8, None, None)
    return np.frombuffer(b"".join(chunks), np.int16), marks, rate_hz


def _phones(marks: list[tuple[int, str]], samples: np.ndarray, rate_hz: int) -> list[Phone]:
    """Turns (sample, label) marks into contiguous phones over the (S,) int16 samples; neighbouring silences become one."""
    marks = [(0, ""), *marks] if marks[0][0] > 0 else marks
    labels = [label for _, label in marks]
    starts = _with_closures([min(start, len(samples)) for start, _ in marks], labels, samples, rate_hz)
    phones: list[Phone] = []
    for start, end, label in zip(starts, [*starts[1:], len(samples)], labels, strict=True):
        if end > start and label == "" and phones and phones[-1].label == "":
            phones[-1] = replace(phones[-1], end_s=end / rate_hz)
        elif end > start:
            phones.append(Phone(start / rate_hz, end / rate_hz, label))
    return phones


def _with_closures(starts: list[int], labels: list[str], samples: np.ndarray, rate_hz: int) -> list[int]:
    """Moves plosives' starts, which espeak reports at the burst, back over the quiet before, at most to the middle of a phone."""
    block = round(QUIET_BLOCK_S * rate_hz)
    loudness = np.abs(samples.astype(np.int32))
    quiet = QUIET_RATIO * loudness.max()
    moved = list(starts)
    for index in range(1, len(starts)):
        if not labels[index].lstrip(STRESS_MARKS).startswith(PLOSIVE_STARTS):
            continue
        before = (moved[index - 1] + starts[index]) // 2 if labels[index - 1] else moved[index - 1]
        earliest = max(before, starts[index] - round(MAX_CLOSURE_S * rate_hz))
        while moved[index] - block >= earliest and loudness[moved[index] - block : moved[index]].max() < quiet:
            moved[index] -= block
    return moved
