"""From what a recording says, in letters, to the phones it should have: espeak-ng's pronunciation in the recording's language."""

import re
from functools import cache

from facedistill.core.errors import InputError
from facedistill.speech.espeak import Voice, languages, synthesize

READER = "Alex"  # the voice variant that reads; pronunciation does not depend on it
NAMES = {"zh": "cmn", "cmn-cn": "cmn", "zh-cn": "cmn", "en": "en-us", "no": "nb", "fr": "fr-fr"}  # tag -> espeak-ng's name


@cache
def language_of(tag: str) -> str:
    """espeak-ng's name of the language that a manifest names: "de-DE" is "de", "en (L1 Mandarin)" is "en-us".

    Args:
        tag: BCP 47, any case, underscores allowed; words after a space do not count.

    Raises:
        InputError: espeak-ng does not speak it.
    """
    plain = re.split(r"[\s(]", tag.strip().lower().replace("_", "-"), maxsplit=1)[0]
    known = set(languages())
    for name in (plain, plain.partition("-")[0]):
        if NAMES.get(name, name) in known:
            return NAMES.get(name, name)
    raise InputError(f"language {tag!r}: espeak-ng does not speak it; allowed: {' '.join(sorted(known))}")


def pronounce(text: str, tag: str) -> list[str]:
    """The IPA labels of a text as espeak-ng reads it, without silences.

    Args:
        text: one utterance in the orthography of its language.
        tag: its language, see `language_of`.

    Raises:
        InputError: unknown language, or a text with nothing to speak.
    """
    _, phones = synthesize(text, Voice(language_of(tag), READER))
    return [phone.label for phone in phones if phone.label]
