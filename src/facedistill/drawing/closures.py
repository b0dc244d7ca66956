"""The lip gap around every p, b and m, all instances over each other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from facedistill.drawing.figures import MODEL_COLOURS, TRUTH_COLOUR
from facedistill.face.curves import FPS
from facedistill.face.phones import Phone, sounds
from facedistill.measure.closures import CLOSED_GAP_MM

LIPS = ("p", "b", "m")
REACH_S, STEP_S = 0.2, 0.005
TIMES_S = np.arange(-REACH_S, REACH_S + STEP_S / 2, STEP_S)
QUARTILES = (0.25, 0.5, 0.75)


def closure_traces(gap_mm: np.ndarray, phones: Sequence[Phone], *, fps: float = FPS) -> dict[str, np.ndarray]:
    """{p, b, m: (N, W) lip gap in mm at `TIMES_S` around the middle of each}; instances that reach over the ends are left out.

    Args:
        gap_mm: (T,) lip gap at `fps`.
        phones: timed phones (IPA).
    """
    frames_s = np.arange(len(gap_mm)) / fps
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
