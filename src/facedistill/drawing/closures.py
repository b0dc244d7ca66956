"""The lip gap around every p, b and m, all instances over each other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facedistill.drawing.figures import MODEL_COLOURS, TRUTH_COLOUR
from facedistill.drawing.results import interval_text, verdict_of
from facedistill.face.curves import FPS
from facedistill.face.phones import Phone, sounds
from facedistill.measure.bootstrap import CONFIDENCE
from facedistill.measure.closures import CLOSED_GAP_MM

LIPS = ("p", "b", "m")
REACH_S, STEP_S = 0.2, 0.005
TIMES_S = np.arange(-REACH_S, REACH_S + STEP_S / 2, STEP_S)
QUARTILES = (0.25, 0.5, 0.75)
NEAR_S = 0.06  # from the middle of a sound, within which the lips have to close
MOSTLY = 0.9  # the share of closures that is claimed
N_BOOT = 1000


def closure_traces(gap_mm: np.ndarray, phones: Sequence[Phone]) -> dict[str, np.ndarray]:
    """{p, b, m: (N, W) lip gap in mm at `TIMES_S` around the middle of each}; instances that reach over the ends are left out.

    Args:
        gap_mm: (T,) lip gap at `FPS`.
        phones: timed phones (IPA).
    """
    frames_s = np.arange(len(gap_mm)) / FPS
    found: dict[str, list[np.ndarray]] = {letter: [] for letter in LIPS}
    for phone in phones:
        letters = [sound.letter for sound in sounds(phone.label)]
        middle_s = (phone.start_s + phone.end_s) / 2
        if len(letters) == 1 and letters[0] in LIPS and middle_s >= REACH_S and middle_s + REACH_S <= frames_s[-1]:
            found[letters[0]].append(np.interp(middle_s + TIMES_S, frames_s, gap_mm))
    return {letter: np.array(traces).reshape(-1, len(TIMES_S)) for letter, traces in found.items()}


def pooled_traces(traces: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The traces of many utterances as one: {p, b, m: (N, W)}."""
    return {letter: np.concatenate([one[letter] for one in traces]) for letter in LIPS}


def closed_shares(
    traces: Sequence[Mapping[str, np.ndarray]], voices: Sequence[str], rng: np.random.Generator
) -> dict[str, tuple[float, float, float, int]]:
    """How often the lips close: {p, b, m: (share, low, high, n)} with 95 % bootstrap intervals over voices.

    Args:
        traces: see `closure_traces`, of N utterances.
        voices: (N,) who speaks each.
        rng: draws the resamples.
    """
    near = np.abs(TIMES_S) <= NEAR_S
    speakers = np.unique(voices, return_inverse=True)[1]
    drawn = rng.multinomial(speakers.max() + 1, np.full(speakers.max() + 1, 1 / (speakers.max() + 1)), size=N_BOOT)
    shares = {}
    for letter in LIPS:
        closed = np.array([(one[letter][:, near].min(axis=1) <= CLOSED_GAP_MM).sum() for one in traces])
        known = np.array([len(one[letter]) for one in traces])
        by_voice = [np.bincount(speakers, weights) for weights in (closed, known)]
        with np.errstate(invalid="ignore"):  # a resample without the sound
            resampled = np.divide(*(drawn @ counts for counts in by_voice))
            value = np.divide(closed.sum(), known.sum())
        low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if known.any() else (np.nan, np.nan)
        shares[letter] = float(value), float(low), float(high), int(known.sum())
    return shares


def closure_verdicts(shares: Mapping[str, Mapping[str, tuple[float, float, float, int]]]) -> pd.DataFrame:
    """Whether each system's lips close in `MOSTLY` all of a sound: columns System, Sound, n, Share closed, Needed, Verdict.

    Args:
        shares: {system: see `closed_shares`}. Judged by the lower end of the interval.
    """
    return pd.DataFrame([
        {
            "System": system, "Sound": f"/{letter}/", "n": n, "Share closed": interval_text(value, low, high, n_digits=2),
            "Needed": f"interval from {MOSTLY} on", "Verdict": verdict_of(low >= MOSTLY, low),
        }
        for system, found in shares.items() for letter, (value, low, high, n) in found.items()
    ])  # fmt: skip


def closures_figure(traces: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Every instance as a thin line, the median and the middle half of them: a row a system, a column a sound.

    Args:
        traces: {system: see `pooled_traces`}; "truth" is drawn black.
    """
    fig, axes = plt.subplots(
        len(traces),
        len(LIPS),
        figsize=(11, 0.8 + 1.9 * len(traces)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for row, (system, found) in zip(axes, traces.items(), strict=True):
        for ax, letter in zip(row, LIPS, strict=True):
            _overlay(ax, found[letter], MODEL_COLOURS.get(system, TRUTH_COLOUR))
        row[0].set_ylabel(f"{system}\nlip gap (mm)")
    for ax, letter in zip(axes[0], LIPS, strict=True):
        ax.set_title(f"/{letter}/, n = {len(next(iter(traces.values()))[letter])}")
    for ax in axes[-1]:
        ax.set_xlabel("Time from the middle of the sound (ms)")
    fig.supxlabel("Line: median; band: middle half of the instances; dashed: lips that look closed", fontsize=10)
    return fig


def _overlay(ax: Axes, traces: np.ndarray, colour: str) -> None:
    times_ms = 1000 * TIMES_S
    ax.axhline(CLOSED_GAP_MM, color="#777777", linestyle="--", linewidth=1)
    if len(traces):
        ax.plot(times_ms, traces.T, color=colour, alpha=min(1.0, 8 / len(traces)), linewidth=0.5)
        low, median, high = np.quantile(traces, QUARTILES, axis=0)
        ax.fill_between(times_ms, low, high, color=colour, alpha=0.25, linewidth=0)
        ax.plot(times_ms, median, color=colour, linewidth=2)
