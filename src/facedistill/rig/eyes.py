"""How eyes move: the timing of blinks and saccades, and lids and gaze as ARKit curves. NumPy alone: the runtime uses it too.

Blinks come every few seconds (Bentivoglio et al., 1997: about 26 a minute in conversation); a lid falls faster than it rises
(Trutoiu et al., 2011). Gaze dwells and jumps (Lee, Badler & Badler, 2002, "Eyes alive").
"""

import numpy as np

BLINK_MEAN_S, BLINK_SHORTEST_S = 4.0, 0.7
BLINK_CLOSE_S, BLINK_OPEN_S = 0.075, 0.135  # 210 ms together, scaled by up to 15 % either way
DWELL_MEAN_S, DWELL_SHORTEST_S = 1.4, 0.25
SACCADE_S = 0.035


def blink_interval_s(rng: np.random.Generator) -> float:
    """Seconds from one blink to the next: gamma distributed over a refractory time, irregular but never two at once."""
    return BLINK_SHORTEST_S + rng.gamma(2.0, (BLINK_MEAN_S - BLINK_SHORTEST_S) / 2.0)


def dwell_s(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count,) seconds from one saccade to the next."""
    return DWELL_SHORTEST_S + rng.gamma(2.0, (DWELL_MEAN_S - DWELL_SHORTEST_S) / 2.0, count)


def aims(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 2) gaze to the head's right and up, in weights: around the listener, whom many dwells look at."""
    points = np.clip(rng.normal(0.0, (0.10, 0.06), (count, 2)), -0.4, 0.4)
    points[rng.random(count) < 0.4] = 0.0
    return points


def raised_cosine(offset_s: np.ndarray, rise_s: float = BLINK_CLOSE_S, fall_s: float = BLINK_OPEN_S) -> np.ndarray:
    """The course of a blink, faster down than up, or of another move: seconds from its peak -> share of it in [0, 1]."""
    phase = np.where(offset_s < 0, offset_s / rise_s, offset_s / fall_s)
    return 0.5 * (1 + np.cos(np.pi * np.clip(phase, -1, 1)))


def eye_curves(lids: np.ndarray, right: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """(T,) lid closure in [0, 1] and gaze to the head's right and up, in weights -> (T,) curves by name, not negative."""
    blink = np.maximum(lids, 0.35 * np.clip(-up, 0, None))  # the lids follow the eyes down
    curves = {}
    for side, inwards in (("Left", right), ("Right", -right)):  # the left eye looks in where the head's right is
        looks = {"Up": up, "Down": -up, "In": inwards, "Out": -inwards}
        curves |= {f"eyeBlink{side}": blink} | {f"eyeLook{way}{side}": np.clip(gaze, 0, None) for way, gaze in looks.items()}
    return curves
