"""What other tools call a mouth shape, as ARKit weights: one small table a vocabulary, and blends of shapes as curves.

The tables say how far each shape parts the lips, no more than the tool's own pictures of its shapes do: closed on p, b, m and,
less firmly, on f, v; at rest in silence; a little apart in other consonants; open in vowels, the wider the opener the vowel.
"""

from collections.abc import Mapping

import numpy as np

from facedistill.rig.arkit import INDEX, N_CURVES

_CLOSED = {"mouthRollLower": 0.35, "mouthRollUpper": 0.2, "mouthPress": 0.3}  # lips pressed together: tighter than at rest
_TUCKED = {"jawOpen": 0.03, "mouthRollLower": 0.5, "mouthUpperUp": 0.15}  # the lower lip under the teeth

# The 15 visemes of Oculus and their example sounds; HeadAudio and wawa-lipsync give these.
OCULUS: dict[str, dict[str, float]] = {
    "sil": {},
    "PP": _CLOSED,
    "FF": _TUCKED,
    "TH": {"jawOpen": 0.10, "mouthLowerDown": 0.10, "tongueOut": 0.3},
    "DD": {"jawOpen": 0.08, "mouthLowerDown": 0.10},
    "kk": {"jawOpen": 0.12, "mouthLowerDown": 0.05},
    "CH": {"jawOpen": 0.06, "mouthFunnel": 0.15, "mouthPucker": 0.3},
    "SS": {"jawOpen": 0.04, "mouthLowerDown": 0.12, "mouthStretch": 0.2},
    "nn": {"jawOpen": 0.08, "mouthLowerDown": 0.08},
    "RR": {"jawOpen": 0.08, "mouthPucker": 0.3},
    "aa": {"jawOpen": 0.40, "mouthLowerDown": 0.20},
    "E": {"jawOpen": 0.28, "mouthLowerDown": 0.20, "mouthStretch": 0.2},
    "I": {"jawOpen": 0.20, "mouthLowerDown": 0.20, "mouthSmile": 0.2},
    "O": {"jawOpen": 0.28, "mouthFunnel": 0.2, "mouthPucker": 0.3},
    "U": {"jawOpen": 0.18, "mouthFunnel": 0.1, "mouthPucker": 0.6},
}
# uLipSync's five vowels, on which it is calibrated, and "-", its noise.
VOWELS: dict[str, dict[str, float]] = {
    "A": OCULUS["aa"], "E": OCULUS["E"], "I": OCULUS["I"], "O": OCULUS["O"], "U": OCULUS["U"], "-": {},
}  # fmt: skip
# Rhubarb's shapes, A-F of Hanna-Barbera and the extended G, H and X, as its manual describes them.
RHUBARB: dict[str, dict[str, float]] = {
    "A": _CLOSED,  # P, B, M
    "B": {"jawOpen": 0.06, "mouthLowerDown": 0.12, "mouthStretch": 0.2},  # most consonants, and EE
    "C": {"jawOpen": 0.28, "mouthLowerDown": 0.20},  # EH, AE, and between shapes
    "D": {"jawOpen": 0.40, "mouthLowerDown": 0.20},  # AA
    "E": {"jawOpen": 0.26, "mouthFunnel": 0.2, "mouthPucker": 0.3},  # AO, ER
    "F": {"jawOpen": 0.12, "mouthFunnel": 0.1, "mouthPucker": 0.6},  # UW, OW, W
    "G": _TUCKED,  # F, V
    "H": {"jawOpen": 0.20, "mouthLowerDown": 0.10, "tongueOut": 0.1},  # L
    "X": {},  # silence
}


def curves_of(shapes: Mapping[str, np.ndarray], table: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """The curves of a blend of shapes.

    Args:
        shapes: {shape: (T,) its share in each frame}.
        table: of the vocabulary; a curve without a side moves both.

    Returns:
        (T, 52) float64 in 0..1.

    Raises:
        KeyError: a shape that the table does not have.
    """
    frames = len(next(iter(shapes.values())))
    weights = np.zeros((frames, N_CURVES))
    for shape, share in shapes.items():
        for name, weight in table[shape].items():
            for side in ("",) if name in INDEX else ("Left", "Right"):
                weights[:, INDEX[name + side]] += weight * share
    return np.clip(weights, 0, 1)
