"""The ground truth of an utterance: all 52 curves, from its timed phones (mouth) and its sound (upper face)."""

import numpy as np

from facedistill.corpora.coarticulation import mouth_curves
from facedistill.corpora.upper_face import upper_face_curves
from facedistill.rig.curves import FPS, n_frames
from facedistill.speech.phones import Phone


def truth_curves(audio: np.ndarray, phones: list[Phone], *, seed: int, strength: float = 1.0) -> np.ndarray:
    """Makes the rig curves of an utterance; the same arguments give the same curves.

    Args:
        audio: (S,) float32 at 16 kHz.
        phones: IPA labels in order of time, not overlapping.
        seed: of blinks, gaze and brow accents; the mouth does not depend on it.
        strength: amplitude of articulation, 1 normal.

    Returns:
        (T, K) float32 in [0, 1] at 60 fps, T = n_frames(S).

    Raises:
        InputError: a label has no known IPA letter.
    """
    frames = n_frames(len(audio))
    mouth = mouth_curves(phones, frames, fps=FPS, strength=strength)
    upper = upper_face_curves(audio, phones, frames, rng=np.random.default_rng(seed))
    return mouth + upper
