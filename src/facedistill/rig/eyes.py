"""How eyes move: the timing of blinks and saccades, and lids and gaze as ARKit curves. NumPy alone: the runtime uses it too.

Blinks come every few seconds (Bentivoglio et al., 1997: about 26 a minute in conversation); a lid falls faster than it rises
(Trutoiu et al., 2011). Gaze dwells and jumps (Lee, Badler & Badler, 2002, "Eyes alive").
"""

import numpy as np

BLINK_MEAN_S, BLINK_SHORTEST_S = 4.0, 0.7
BLINK_CLOSE_S, BLINK_OPEN_S = 0.075, 0.135  # 210 ms together, scaled by up to 15 % either way
DWELL_MEAN_S, DWELL_SHORTEST_S = 1.4, 0.25
SACCADE_S = 0.035
GAZE_SPREAD, GAZE_LIMIT = (0.10, 0.06), 0.4  # of aims to the side and up, in weights
TO_LISTENER = 0.4  # the part of dwells that look straight ahead
LIDS_FOLLOW = 0.35  # the lids follow the eyes down


def blink_interval_s(rng: np.random.Generator) -> float:
    """Seconds from one blink to the next: gamma distributed over a refractory time, irregular but never two at once."""
    return BLINK_SHORTEST_S + rng.gamma(2.0, (BLINK_MEAN_S - BLINK_SHORTEST_S) / 2.0)


def dwell_s(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) seconds from one saccade to the next."""
    return DWELL_SHORTEST_S + rng.gamma(2.0, (DWELL_MEAN_S - DWELL_SHORTEST_S) / 2.0, count)


def aims(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 2) gaze to the head's right and up, in weights: around the listener, whom many dwells look at."""
    points = np.clip(rng.normal(0.0, GAZE_SPREAD, (count, 2)), -GAZE_LIMIT, GAZE_LIMIT)
    points[rng.random(count) < TO_LISTENER] = 0.0
    return points


def lid_closure(offset_s: np.ndarray) -> np.ndarray:
    """The course of a blink: seconds from its peak -> closure in [0, 1], a raised cosine, faster down than up."""
    phase = np.where(offset_s < 0, offset_s / BLINK_CLOSE_S, offset_s / BLINK_OPEN_S)
    return 0.5 * (1 + np.cos(np.pi * np.clip(phase, -1, 1)))


def eye_curves(lids: np.ndarray, right: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """Lids and gaze as curves by name.

    Args:
        lids: (T,) closure in [0, 1].
        right, up: (T,) gaze to the head's right and up, in weights.

    Returns:
        eyeBlink and eyeLookUp, Down, In and Out of both eyes, each (T,) and not negative.
    """
    blink = np.maximum(lids, LIDS_FOLLOW * np.clip(-up, 0, None))
    curves = {}
    for side, inwards in (("Left", right), ("Right", -right)):  # the left eye looks in where the head's right is
        curves |= {
            f"eyeBlink{side}": blink,
            f"eyeLookUp{side}": np.clip(up, 0, None),
            f"eyeLookDown{side}": np.clip(-up, 0, None),
            f"eyeLookIn{side}": np.clip(inwards, 0, None),
            f"eyeLookOut{side}": np.clip(-inwards, 0, None),
        }
    return curves
