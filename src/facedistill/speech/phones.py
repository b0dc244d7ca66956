"""Timed phones: their files, their labels in every alphabet as IPA, and IPA labels as speech sounds with phonetic features."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.core.files import write_text

# Words of a description that mean each alphabet; of several, the last one here counts.
PHONESETS = {"ipa": {"ipa", "espeak"}, "sampa": {"sampa", "xsampa"}, "mrpa": {"mrpa"}, "arpabet": {"arpabet", "radio", "timit"}}
SILENCE, BILABIAL, LABIODENTAL, VOWEL, OTHER = CLASSES = ("silence", "bilabial", "labiodental", "vowel", "other")

# Vowel letter: openness (0 close to 1 open), backness (0 front to 1 back), rounding, after the IPA chart (2020).
VOWELS = {
    "i": (0.0, 0.0, 0), "y": (0.0, 0.0, 1), "ɨ": (0.0, 0.5, 0), "ʉ": (0.0, 0.5, 1), "ɯ": (0.0, 1.0, 0), "u": (0.0, 1.0, 1),
    "ɪ": (0.15, 0.2, 0), "ʏ": (0.15, 0.2, 1), "ᵻ": (0.15, 0.5, 0), "ᵿ": (0.15, 0.8, 1), "ʊ": (0.15, 0.8, 1), "ı": (0.0, 1.0, 0),
    "e": (0.33, 0.0, 0), "ø": (0.33, 0.0, 1), "ɘ": (0.33, 0.5, 0), "ɵ": (0.33, 0.5, 1), "ɤ": (0.33, 1.0, 0), "o": (0.33, 1.0, 1),
    "ə": (0.4, 0.5, 0), "ɚ": (0.4, 0.5, 0), "ɛ": (0.66, 0.0, 0), "œ": (0.66, 0.0, 1), "ɜ": (0.55, 0.5, 0), "ɝ": (0.55, 0.5, 0),
    "ɞ": (0.66, 0.5, 1), "ʌ": (0.66, 1.0, 0), "ɔ": (0.66, 1.0, 1), "æ": (0.83, 0.0, 0), "ɐ": (0.83, 0.5, 0), "a": (1.0, 0.2, 0),
    "ɶ": (1.0, 0.0, 1), "ɑ": (1.0, 1.0, 0), "ɒ": (1.0, 1.0, 1),
}  # fmt: skip

# Consonant letters by what can be seen of them (Fisher's visemes, refined by what the jaw and the lips of each do).
CONSONANTS = {
    "bilabial": "pbmɓʙʘ",
    "bilabial-fricative": "ɸβ",
    "labiodental": "fvɱⱱʋ",
    "labial-glide": "wʍɥ",
    "dental": "θðǀ",
    "alveolar": "tdnɗʈɖɳᶑǃǁǂ",
    "lateral": "lɫɬɮɭɺʟ",
    "tap": "rɾɽ",
    "sibilant": "szɕʑ",
    "postalveolar": "ʃʒʂʐɧ",
    "approximant": "ɹɻ",
    "palatal": "jçʝcɟɲʎʄ",
    "velar": "kɡgxɣŋɰqɢχʁɴʀɠʛ",
    "glottal": "hɦʔħʕʡʢʜ",
}
PLACES = {letter: place for place, letters in CONSONANTS.items() for letter in letters}
LETTERS = (*VOWELS, *PLACES)  # every base letter a sound can have
SPELLINGS = {"c\u0327": "ç", "ε": "ɛ", "?": "ʔ", ":": "ː", "ʣ": "dz", "ʤ": "dʒ", "ʥ": "dʑ", "ʦ": "ts", "ʧ": "tʃ", "ʨ": "tɕ"}

SILENCES = frozenset(
    "sil sp spn ssil pau pause epi h# brth br breath nsn noise laugh fp <sil> <p> <p:>"
    " &p: <usb> <nib> [sil] [noise] # _ - .. ... | +".split()
) | {""}

# Wells (1997) SAMPA and Wells (1995) X-SAMPA, the symbols that differ from IPA.
XSAMPA = {
    "A": "ɑ", "B": "β", "C": "ç", "D": "ð", "E": "ɛ", "F": "ɱ", "G": "ɣ", "H": "ɥ", "I": "ɪ", "J": "ɲ", "K": "ɬ", "L": "ʎ",
    "M": "ɯ", "N": "ŋ", "O": "ɔ", "P": "ʋ", "Q": "ɒ", "R": "ʁ", "S": "ʃ", "T": "θ", "U": "ʊ", "V": "ʌ", "W": "ʍ", "X": "χ",
    "Y": "ʏ", "Z": "ʒ", "1": "ɨ", "2": "ø", "3": "ɜ", "4": "ɾ", "5": "ɫ", "6": "ɐ", "7": "ɤ", "8": "ɵ", "9": "œ", "@": "ə",
    "{": "æ", "}": "ʉ", "&": "ɶ", "?": "ʔ", "~": "\u0303", "_~": "\u0303", ":": "ː", "_:": "ː", ":\\": "ˑ", "=": "\u0329",
    "_=": "\u0329", "`": "˞", "'": "ʲ", "_j": "ʲ", "_w": "ʷ", "_h": "ʰ", "_>": "ʼ", "_0": "\u0325", "_v": "\u032c",
    "_d": "\u032a", "_^": "\u032f", "_G": "ˠ", "_?\\": "ˤ", '"': "", "%": "", ".": "", "-": "", "|": "", "B\\": "ʙ", "G\\": "ɢ",
    "H\\": "ʜ", "I\\": "ɨ", "J\\": "ɟ", "K\\": "ɮ", "L\\": "ʟ", "M\\": "ɰ", "N\\": "ɴ", "O\\": "ʘ", "R\\": "ʀ", "U\\": "ʊ",
    "X\\": "ħ", "h\\": "ɦ", "j\\": "ʝ", "l\\": "ɺ", "p\\": "ɸ", "r\\": "ɹ", "s\\": "ɕ", "v\\": "ʋ", "x\\": "ɧ", "z\\": "ʑ",
    "?\\": "ʕ", "@\\": "ɘ", "3\\": "ɞ", "!\\": "ǃ", "|\\": "ǀ", "|\\|\\": "ǁ", "=\\": "ǂ", "b_<": "ɓ", "d_<": "ɗ", "g_<": "ɠ",
    "@`": "ɚ", "3`": "ɝ", "r`": "ɽ", "r\\`": "ɻ", "t`": "ʈ", "d`": "ɖ", "n`": "ɳ", "l`": "ɭ", "s`": "ʂ", "z`": "ʐ",
}  # fmt: skip

# The machine-readable phonetic alphabet of the Emu databases: SAMPA, but with a closure's aspiration as a segment of its own.
MRPA = XSAMPA | {"H": "h", "O": "ɒ", "r": "ɹ"}

# CMU and TIMIT: Shoup (1980); TIMIT's stop closures count as the stop.
ARPABET = {
    "aa": "ɑː", "ae": "æ", "ah": "ʌ", "ao": "ɔː", "aw": "aʊ", "ax": "ə", "ax-h": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "bcl": "b", "ch": "tʃ", "d": "d", "dcl": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l̩", "em": "m̩", "en": "n̩",
    "eng": "ŋ̩", "er": "ɝ", "ey": "eɪ", "f": "f", "g": "ɡ", "gcl": "ɡ", "h": "h", "hh": "h", "hv": "ɦ", "ih": "ɪ", "ix": "ɨ",
    "iy": "iː", "jh": "dʒ", "k": "k", "kcl": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ", "nx": "ɾ̃", "ow": "oʊ", "oy": "ɔɪ",
    "p": "p", "pcl": "p", "q": "ʔ", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "tcl": "t", "th": "θ", "uh": "ʊ", "uw": "uː",
    "ux": "ʉ", "v": "v", "w": "w", "wh": "ʍ", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip


@dataclass(frozen=True)
class Phone:
    """A phone and its time in the audio, in seconds; an empty label is silence."""

    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Sound:
    """One speech sound of a label: a letter and the marks that modify it, such as "ʷ" or the nasal tilde."""

    letter: str
    marks: str = ""

    @property
    def place(self) -> str:
        """A key of `CONSONANTS`, or "vowel"."""
        return PLACES.get(self.letter, VOWEL)


def read_phones(path: Path) -> list[Phone]:
    """Reads tab-separated start, end (increasing seconds) and label, one phone a line, without a header."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as a phone file ({error})") from None
    phones: list[Phone] = []
    for number, line in enumerate(lines, start=1):
        columns = line.split("\t")
        if len(columns) != 3:
            raise InputError(f"{path}: line {number} has {len(columns)} tab-separated columns; expected start, end, label")
        try:
            start_s, end_s = float(columns[0]), float(columns[1])
        except ValueError:
            raise InputError(f"{path}: line {number}: {columns[0]!r}, {columns[1]!r} are not times in seconds") from None
        earliest_s = phones[-1].end_s if phones else 0.0
        if not earliest_s - 1e-6 <= start_s < end_s < float("inf"):
            raise InputError(f"{path}: line {number}: times {start_s} to {end_s} s; expected increasing, from {earliest_s} s on")
        phones.append(Phone(start_s, end_s, columns[2].strip()))
    return phones


def read_ipa(path: Path, phoneset: str | None) -> list[Phone]:
    """Reads phones as IPA, whatever alphabet a manifest says that they are in."""
    alphabet = phoneset_of(phoneset)
    return [Phone(phone.start_s, phone.end_s, to_ipa(phone.label, alphabet)) for phone in read_phones(path)]


def write_phones(path: Path, phones: list[Phone]) -> None:
    """Writes phones as `read_phones` reads them, times in seconds with 6 decimals, atomically."""
    write_text(path, "".join(f"{phone.start_s:.6f}\t{phone.end_s:.6f}\t{phone.label}\n" for phone in phones))


def phoneset_of(description: str | None) -> str:
    """The phoneset that a manifest's free-text description means, one of `PHONESETS`; none given means IPA."""
    words = {"ipa"} if description is None else set(re.findall(r"[a-z]+", description.lower()))
    meant = [phoneset for phoneset, names in PHONESETS.items() if names & words]
    if not meant:
        raise InputError(f"phoneset {description!r} is not known; expected a description that names {', '.join(PHONESETS)}")
    return meant[-1]


@cache
def to_ipa(label: str, phoneset: str) -> str:
    """A label of a phoneset as IPA, of several letters for compounds ("pt", "aI"); "" for silence, noise and breath."""
    label = label.strip()
    if label.lower() in SILENCES:
        return ""
    if phoneset not in PHONESETS:
        raise InputError(f"phoneset {phoneset!r} is not known; expected {', '.join(PHONESETS)}")
    if phoneset == "ipa":
        return label
    if phoneset == "arpabet":
        plain = re.sub(r"(_[bies])?$", "", label.lower()).rstrip("012")  # Kaldi's word positions and the stress digit
        if plain not in ARPABET:
            raise InputError(f"phone {label!r} is not ARPAbet; expected {' '.join(ARPABET)}")
        return ARPABET[plain]
    table = XSAMPA if phoneset == "sampa" else MRPA
    longest_first = [*map(re.escape, sorted(table, key=len, reverse=True)), "."]
    symbols = re.findall("|".join(longest_first), label, re.DOTALL)
    for symbol in symbols:
        if symbol not in table and not "a" <= symbol <= "z":
            raise InputError(f"phone {label!r} is not SAMPA: {symbol!r} is not one of its symbols")
    return "".join(table.get(symbol, symbol) for symbol in symbols)


@cache
def sounds(ipa: str) -> tuple[Sound, ...]:
    """Decomposes an IPA label into its sounds, in order: "aɪ" and "tʃ" are two, "ɔ̃ː" is one, "" none.

    What is no letter becomes a mark of the letter before it or is dropped. Marks alone ("ʲ", a tone) are a glottal sound, which
    takes its shape from its neighbours; "(en)", with which espeak-ng announces another language, is silence.
    """
    text = unicodedata.normalize("NFD", re.sub(r"\(.*?\)", "", ipa)).strip()
    for spelling, letters in SPELLINGS.items():
        text = text.replace(spelling, letters)
    if len(capitals := re.findall("[A-Z]", text)) == 1:  # a few of espeak-ng's ASCII names are not translated to IPA
        text = text.replace(capitals[0], XSAMPA[capitals[0]])
    found: list[Sound] = []
    for symbol in text:
        if symbol in VOWELS or symbol in PLACES:
            found.append(Sound(symbol))
        elif found:
            found[-1] = Sound(found[-1].letter, found[-1].marks + symbol)
    if found or not text:
        return tuple(found)
    if any(unicodedata.category(symbol) in ("Lu", "Ll", "Lo") for symbol in text):
        raise InputError(f"phone {ipa!r} has no known IPA letter; expected labels with {' '.join(LETTERS)}")
    return (Sound("ʔ", text),)


def classify(ipa: str) -> str:
    """What a lip reader sees of an IPA label, one of `CLASSES`.

    One of several sounds is "bilabial" or "labiodental" if any is ("mb"), else "vowel" if the first but glottal ones is ("ʔa").
    """
    places = [sound.place for sound in sounds(ipa)]
    for visible in (BILABIAL, LABIODENTAL):
        if visible in places:
            return visible
    first = next((place for place in places if place != "glottal"), OTHER if places else SILENCE)
    return first if first in CLASSES else OTHER
