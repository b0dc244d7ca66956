"""Timed phones to mouth curves with the dominance functions of Cohen & Massaro (1993).

"Modeling coarticulation in synthetic visual speech" gives every segment s and articulator group g a dominance over time,

    D(t) = alpha * exp(-(theta * tau) ** c),    tau = the time from t to the segment,

and lets each articulator follow the mean of all targets weighted by it. Theta differs before and after the segment. Here tau
counts from a plateau inside it, so that long sounds hold their target, and dominance reaches 0 at a finite distance.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from facedistill.corpora.viseme_targets import ARTICULATORS, AT_REST, CONTACT, GROUP_OF, GROUPS, pose, targets
from facedistill.rig.arkit import N_CURVES
from facedistill.rig.curves import FPS
from facedistill.speech.phones import Phone

CUTOFF = 6.0  # (theta tau) ** c from which dominance is 0
MIN_GAP_S = 1e-4  # shorter gaps between phones are rounding errors, not silences
REST = 1e-3  # dominance of rest everywhere, which decides only where nothing else does


@dataclass(frozen=True)
class Dynamics:
    """How the dominance of a group's segments falls off."""

    before_hz: float  # theta ahead of a segment; small: long anticipation
    after_hz: float  # theta behind it
    power: float  # c
    inset_s: float  # distance of the plateau from both ends of the segment,
    inset_ratio: float  # at most this part of its duration each
    # Shorter segments have proportionally less, so that a burst of them does not outvote a contact; contacts are exempt.
    full_s: float = 0.0


# Rounding is anticipated over whole consonant clusters and given up faster (Benguerel & Cowan, 1974; Perkell & Matthies, 1992);
# lip contact is made and broken within about 40 ms, the end of the 60 ms movement of Löfqvist & Gracco (1997).
DYNAMICS = {
    "jaw": Dynamics(26.0, 28.0, 1.4, 0.03, 0.35),
    "closure": Dynamics(120.0, 120.0, 1.0, 0.02, 0.5, 0.03),
    "tuck": Dynamics(110.0, 110.0, 1.0, 0.02, 0.5, 0.03),
    "rounding": Dynamics(8.0, 13.0, 1.3, 0.05, 0.35),
    "height": Dynamics(26.0, 28.0, 1.4, 0.03, 0.35),
    "tongue": Dynamics(22.0, 22.0, 1.4, 0.03, 0.4),
}
# The mouth leaves rest 100 ms or more before speech is heard (Chandrasekaran et al., 2009) and settles about as fast after it.
SILENCE_INSETS_S = (0.12, 0.10)
SILENCE_FULL_S = 0.12
CONTACT_GROUPS = ("closure", "tuck")


@dataclass(frozen=True)
class Segments:
    """Sounds and silences on the time line."""

    start_s: np.ndarray  # (P,) float64
    end_s: np.ndarray  # (P,) float64
    articulators: np.ndarray  # (P, A) float32 targets
    dominance: np.ndarray  # (P, G) float32
    silent: np.ndarray  # (P,) bool


def mouth_curves(phones: Iterable[Phone], n_frames: int, *, strength: float = 1.0) -> np.ndarray:
    """The targets of phones (IPA, in order of time, silence between) as (T, K) float32 curves of jaw, mouth and tongue at `FPS`.

    In every /p b m/ the lips close at least in the frame nearest its middle, however short it is, and in two frames from 40 ms
    on; in every /f v/ that does not touch one of those, the lower lip meets the teeth: dominance alone gives this, at any
    `strength` of articulation, under 1 mumbled, over 1 exaggerated. InputError where a label has no known IPA letter.
    """
    if n_frames == 0:
        return np.zeros((0, N_CURVES), np.float32)
    segments = place_targets(phones, n_frames / FPS)
    positions = np.empty((n_frames, len(ARTICULATORS)), np.float32)
    for group in GROUPS:
        columns = [column for column, name in enumerate(GROUP_OF) if name == group]
        weights = dominance_matrix(segments, group, n_frames)
        total = np.asarray(weights.sum(axis=1)).ravel() + REST
        positions[:, columns] = weights @ segments.articulators[:, columns] / total[:, None]
        if group not in CONTACT_GROUPS:
            positions[:, columns] *= strength
    return pose(positions)


def place_targets(phones: Iterable[Phone], duration_s: float) -> Segments:
    """Expands phones into sounds, and the time between, before and after them, up to `duration_s`, into silences."""
    rows, clock_s = [], 0.0
    for phone in phones:
        if phone.start_s - clock_s > MIN_GAP_S:
            rows.append((clock_s, phone.start_s, AT_REST))
        sequence = targets(phone.label)
        rest_ratio = (1 - 0.55) / max(len(sequence) - 1, 1)  # a diphthong dwells on its first vowel
        ends = 1.0 - rest_ratio * np.arange(len(sequence))[::-1]
        edges_s = phone.start_s + (phone.end_s - phone.start_s) * np.concatenate([[0.0], ends])
        rows.extend(zip(edges_s[:-1], edges_s[1:], sequence, strict=True))
        clock_s = phone.end_s
    if duration_s - clock_s > MIN_GAP_S or not rows:
        rows.append((clock_s, max(duration_s, clock_s + MIN_GAP_S), AT_REST))
    starts_s, ends_s, sounds = zip(*rows, strict=True)
    parts = zip(*((sound.articulators, sound.dominance, sound is AT_REST) for sound in sounds), strict=True)
    return Segments(*map(np.array, (starts_s, ends_s, *parts)))


def dominance_matrix(segments: Segments, group: str, n_frames: int) -> sparse.csc_array:
    """(T, P) sparse float32 dominance of each segment over a group of articulators at each frame."""
    dynamics, alpha = DYNAMICS[group], segments.dominance[:, GROUPS.index(group)].astype(np.float64)
    duration_s = segments.end_s - segments.start_s
    makes_contact = segments.articulators[:, GROUP_OF.index(group)] >= CONTACT
    # Jaw and lips drift to rest and leave it early; lip contact ends with its phone, silence or not.
    resting = segments.silent if group not in CONTACT_GROUPS else np.zeros_like(segments.silent)
    inset_s = np.minimum(dynamics.inset_s, dynamics.inset_ratio * duration_s)
    first_s = segments.start_s + np.where(resting, np.minimum(SILENCE_INSETS_S[0], 0.55 * duration_s), inset_s)
    last_s = segments.end_s - np.where(resting, np.minimum(SILENCE_INSETS_S[1], 0.45 * duration_s), inset_s)
    full_s = np.where(resting, SILENCE_FULL_S, dynamics.full_s) * ~makes_contact
    alpha *= np.minimum(1.0, duration_s / np.maximum(full_s, 1e-9))

    reach = CUTOFF ** (1 / dynamics.power)
    start = np.clip(np.ceil((first_s - reach / dynamics.before_hz) * FPS), 0, n_frames).astype(np.int64)
    stop = np.clip(np.floor((last_s + reach / dynamics.after_hz) * FPS) + 1, start, n_frames).astype(np.int64)
    counts = stop - start
    edges = np.concatenate([[0], np.cumsum(counts)])
    frames = np.arange(edges[-1]) + np.repeat(start - edges[:-1], counts)
    ahead_s = np.repeat(first_s, counts) - frames / FPS
    behind_s = frames / FPS - np.repeat(last_s, counts)
    distance = np.maximum(np.maximum(ahead_s * dynamics.before_hz, behind_s * dynamics.after_hz), 0)
    floor = np.exp(-CUTOFF)
    values = np.repeat(alpha, counts) * (np.exp(-(distance**dynamics.power)) - floor) / (1 - floor)
    return sparse.csc_array((np.maximum(values, 0).astype(np.float32), frames, edges), shape=(n_frames, len(alpha)))
