"""What each speech sound asks of the jaw, the lips and the tongue, and how these articulators move the ARKit curves.

The lips work as tract variables (Saltzman & Munhall, 1989, "A dynamical approach to gestural patterning in speech production"):
closing them is one gesture, whatever the jaw does. Values follow Edwards et al. (2016), "JALI: an animator-centric viseme model
for expressive lip synchronization" (jaw and lips apart; p b m close, f v tuck, sibilants close the jaw, w u o ʃ round), and
Cohen & Massaro (1993), "Modeling coarticulation in synthetic visual speech".
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from facedistill.rig.arkit import weights_of
from facedistill.speech.phones import VOWEL, VOWELS, Sound, sounds

ARTICULATORS = ("jaw", "closure", "tuck", "pucker", "funnel", "spread", "lower_down", "upper_up", "tongue")  # A of them
GROUPS = ("jaw", "closure", "tuck", "rounding", "height", "tongue")  # G sets of articulators that move together
GROUP_OF = ("jaw", "closure", "tuck", "rounding", "rounding", "height", "height", "height", "tongue")

# Speakers aim past contact: the lips are still closing when they meet (Löfqvist & Gracco, 1997, "Lip and jaw kinematics in
# bilabial stop consonant production"). A target above 1 is such a virtual position; `pose` stops at contact.
CONTACT = 1.6
# mouthClose corrects jawOpen: with so much of it the lip gap is that at rest, whatever the jaw does.
CLOSE_PER_JAW = 0.84
OPEN_LIPS = 0.5  # dominance over lip contact of every sound that makes none


@dataclass(frozen=True)
class Target:
    """A sound's position and its strength in the blend with its neighbours."""

    articulators: np.ndarray  # (A,) float32, in the order of `ARTICULATORS`; 0 is rest, 1 the full ARKit curve or full contact
    dominance: np.ndarray  # (G,) float32 > 0, in the order of `GROUPS`: the alpha of Cohen & Massaro; small means transparent

    @property
    def weights(self) -> np.ndarray:
        """(K,) float32 ARKit weights of the sound held alone."""
        return pose(self.articulators)


AT_REST = Target(np.zeros(len(ARTICULATORS), np.float32), np.array([1.0, OPEN_LIPS, OPEN_LIPS, 0.7, 0.8, 0.8], np.float32))

# place:               jaw  closure   tuck     pucker funnel spread lower upper tongue | jaw closure tuck rounding height tongue
_CONSONANT_TARGETS = {
    "bilabial":           (0.08, CONTACT, 0.0,     0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.90, 4.0, 0.5, 0.12, 0.10, 0.5),
    "bilabial-fricative": (0.07, 0.55,    0.0,     0.00, 0.00, 0.05, 0.03, 0.03, 0.00, 0.90, 2.0, 0.5, 0.12, 0.30, 0.5),
    "labiodental":        (0.05, 0.00,    CONTACT, 0.00, 0.00, 0.05, 0.00, 0.08, 0.00, 2.20, 1.0, 4.0, 0.15, 0.50, 0.5),
    "labial-glide":       (0.03, 0.00,    0.0,     0.85, 0.05, 0.00, 0.00, 0.00, 0.00, 1.50, 0.5, 0.5, 1.60, 1.00, 0.5),
    "dental":             (0.10, 0.00,    0.0,     0.00, 0.00, 0.05, 0.07, 0.05, 0.30, 1.60, 0.5, 0.5, 0.10, 0.40, 2.0),
    "alveolar":           (0.06, 0.00,    0.0,     0.00, 0.00, 0.10, 0.07, 0.05, 0.00, 1.60, 0.5, 0.5, 0.05, 0.30, 0.5),
    "lateral":            (0.10, 0.00,    0.0,     0.00, 0.00, 0.05, 0.07, 0.05, 0.00, 1.20, 0.5, 0.5, 0.05, 0.25, 0.5),
    "tap":                (0.08, 0.00,    0.0,     0.05, 0.03, 0.05, 0.06, 0.05, 0.00, 1.20, 0.5, 0.5, 0.05, 0.20, 0.5),
    "sibilant":           (0.03, 0.00,    0.0,     0.00, 0.00, 0.25, 0.11, 0.08, 0.00, 3.00, 0.5, 0.5, 0.12, 0.80, 0.5),
    "postalveolar":       (0.04, 0.00,    0.0,     0.45, 0.25, 0.00, 0.06, 0.10, 0.00, 2.80, 0.5, 0.5, 1.20, 0.60, 0.5),
    "approximant":        (0.07, 0.00,    0.0,     0.32, 0.12, 0.00, 0.05, 0.05, 0.00, 1.20, 0.5, 0.5, 0.50, 0.30, 0.5),
    "palatal":            (0.05, 0.00,    0.0,     0.00, 0.00, 0.40, 0.05, 0.05, 0.00, 1.50, 0.5, 0.5, 0.15, 0.60, 0.5),
    "velar":              (0.10, 0.00,    0.0,     0.00, 0.00, 0.05, 0.04, 0.03, 0.00, 0.90, 0.5, 0.5, 0.03, 0.08, 0.5),
    "glottal":            (0.12, 0.00,    0.0,     0.00, 0.00, 0.00, 0.04, 0.03, 0.00, 0.12, 0.5, 0.5, 0.02, 0.03, 0.5),
}  # fmt: skip


@cache
def targets(ipa: str) -> tuple[Target, ...]:
    """The targets of an IPA label in sequence: several for compounds, the face at rest for silence; InputError: no IPA."""
    return tuple(map(_target, sounds(ipa))) or (AT_REST,)


def _target(sound: Sound) -> Target:
    if sound.place == VOWEL:
        position, dominance = _vowel(sound.letter)
    else:
        row = _CONSONANT_TARGETS[sound.place]
        position, dominance = dict(zip(ARTICULATORS, row, strict=False)), dict(zip(GROUPS, row[len(ARTICULATORS) :], strict=True))
    _apply_marks(sound.marks, position, dominance)
    return Target(np.array(list(position.values()), np.float32), np.array(list(dominance.values()), np.float32))


def _vowel(letter: str) -> tuple[dict[str, float], dict[str, float]]:
    """Openness drives the jaw and lowers the lips, rounding purses and narrows them, frontness spreads unrounded ones.

    Close vowels open the lips far more than the tongue: a viewer must tell every vowel from the consonants beside it.
    """
    openness, back, rounded = VOWELS[letter]
    front = (1 - back) * (1 - rounded)
    position = dict.fromkeys(ARTICULATORS, 0.0) | {
        "jaw": 0.27 + 0.12 * openness - 0.06 * rounded * (1 - openness),
        "pucker": rounded * (0.75 - 0.45 * openness),
        "funnel": rounded * (0.07 + 0.14 * min(openness, 0.7)),
        "spread": front * (0.60 - 0.40 * openness),
        "lower_down": (1 - 0.6 * rounded) * (0.14 + 0.14 * openness),
        "upper_up": (1 - 0.6 * rounded) * (0.04 + 0.08 * openness),
    }
    reduced = 0.55 if letter in "əᵻᵿ" else 1.0  # central reduced vowels follow their neighbours
    dominance = {
        "jaw": reduced * (0.9 + 0.6 * openness),
        "closure": OPEN_LIPS,
        "tuck": OPEN_LIPS,
        "rounding": reduced * (1.3 if rounded else 0.5 + 0.3 * front),
        "height": reduced * 0.9,
        "tongue": 0.5,
    }
    if letter in "ɚɝ":
        position["pucker"] = 0.30
    return position, dominance


def _apply_marks(marks: str, position: dict[str, float], dominance: dict[str, float]) -> None:
    if "ʷ" in marks or "\u0339" in marks:  # labialised, more rounded
        position["pucker"], dominance["rounding"] = max(position["pucker"], 0.55), max(dominance["rounding"], 1.0)
    if "ʲ" in marks:  # palatalised
        position["spread"], dominance["height"] = max(position["spread"], 0.25), max(dominance["height"], 0.4)
    if "˞" in marks:  # r-coloured
        position["pucker"] = max(position["pucker"], 0.25)
    if "ː" in marks:  # long sounds reach their targets
        dominance["jaw"], dominance["height"] = 1.3 * dominance["jaw"], 1.3 * dominance["height"]


def pose(articulators: np.ndarray) -> np.ndarray:
    """(..., A) positions in the order of `ARTICULATORS` -> (..., K) float32 ARKit weights in [0, 1], left and right alike.

    Contact is multiplicative: full closure cancels the jaw through mouthClose and undoes the lips' own opening, so that the lips
    meet at any jaw height, rounded lips included.
    """
    value = dict(zip(ARTICULATORS, np.moveaxis(np.asarray(articulators, np.float32), -1, 0), strict=True))
    closure = np.clip(value["closure"], 0, 1)
    tuck = np.clip(value["tuck"], 0, 1) * (1 - closure)
    apart = (1 - closure) * (1 - tuck)
    curves = {
        "jawOpen": value["jaw"],
        "mouthClose": CLOSE_PER_JAW * value["jaw"] * (closure + tuck),
        "mouthPucker": value["pucker"],
        "mouthFunnel": value["funnel"] * apart,
        "mouthRollLower": 0.06 * closure + 0.25 * tuck,
        "mouthRollUpper": 0.05 * closure,
        "mouthShrugLower": 0.03 * closure,
        "mouthSmile": 0.60 * value["spread"],
        "mouthStretch": 0.30 * value["spread"],
        "mouthDimple": 0.20 * value["spread"],
        "mouthPress": 0.05 * closure + 0.06 * np.clip(value["closure"] - 1, 0, 1),
        "mouthLowerDown": value["lower_down"] * apart + 0.09 * value["pucker"] * closure + 0.30 * tuck,
        "mouthUpperUp": value["upper_up"] * apart + 0.20 * tuck,
        "tongueOut": value["tongue"] * (1 - closure),
    }
    return weights_of(curves)
