"""The lip gap around every p, b and m, all instances over each other."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from facedistill.figures.claims import Claim, judge
from facedistill.figures.style import MODEL_COLOURS, TRUTH_COLOUR
from facedistill.measure.bootstrap import divide, summary
from facedistill.measure.closures import CLOSED_GAP_MM
from facedistill.rig.curves import FPS
from facedistill.speech.phones import Phone, sounds

LIPS = ("p", "b", "m")
REACH_S, STEP_S = 0.2, 0.005
TIMES_S = np.arange(-REACH_S, REACH_S + STEP_S / 2, STEP_S)
NEAR_S = 0.06  # from the middle of a sound, within which the lips have to close
MOSTLY = 0.9  # the share of closures that is claimed
N_BOOT = 1000


def closure_traces(gap_mm: np.ndarray, phones: Sequence[Phone], voice: str) -> pd.DataFrame:
    """(T,) lip gap at `FPS` -> (N, W) mm at `TIMES_S` around the middle of each p, b and m inside it, by letter and voice."""
    frames_s, letters, traces = np.arange(len(gap_mm)) / FPS, [], []
    for phone in phones:
        found = [sound.letter for sound in sounds(phone.label)]
        middle_s = (phone.start_s + phone.end_s) / 2
        if len(found) == 1 and found[0] in LIPS and middle_s >= REACH_S and middle_s + REACH_S <= frames_s[-1]:
            letters += found
            traces.append(np.interp(middle_s + TIMES_S, frames_s, gap_mm))
    index = pd.MultiIndex.from_arrays([letters, [voice] * len(letters)], names=["letter", "voice"])
    return pd.DataFrame(np.array(traces).reshape(-1, len(TIMES_S)), index, TIMES_S)


def closed_shares(traces: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """How often the lips close: a row for each of `LIPS`, value, low and high of a 95 % bootstrap interval over voices, n."""
    closed = traces.loc[:, np.abs(TIMES_S) <= NEAR_S].min(axis=1) <= CLOSED_GAP_MM
    counts = closed.groupby(level=["letter", "voice"]).agg(["sum", "size"]).unstack("voice", fill_value=0)
    counts = counts.reindex(LIPS, fill_value=0).rename_axis("letter")
    n_voices = counts["size"].shape[1]
    drawn = rng.multinomial(n_voices, np.full(n_voices, 1 / n_voices), size=N_BOOT)
    drawn = np.concatenate([np.ones((1, n_voices), int), drawn])  # everyone first, as `summary` wants it
    pairs = zip(counts["sum"].to_numpy(), counts["size"].to_numpy(), strict=True)
    rows = [summary(divide(drawn @ n_closed, drawn @ n)) | {"n": n.sum()} for n_closed, n in pairs]
    return pd.DataFrame(rows, counts.index)


def judge_closures(shares: Mapping[str, pd.DataFrame], split: str) -> pd.DataFrame:
    """Judges whether each system's lips close in `MOSTLY` all of a sound, by `closed_shares`; see `claims.judge`."""
    claims, measured = [], {}
    for system, found in shares.items():
        for letter, *ends, n in found.itertuples():
            measure = f"Share closed of {n} /{letter}/"
            claims.append(Claim(f"{system} closes its lips on /{letter}/", system, measure, "≥", MOSTLY, whole=True))
            measured[split, system, measure, "value"] = tuple(ends)
    return judge(claims, measured, split)


def closures_figure(traces: Mapping[str, pd.DataFrame]) -> Figure:
    """Every instance as a thin line, the median and the middle half of them: a row a system, a column a sound."""
    times_ms, size = 1000 * TIMES_S, (11, 0.8 + 1.9 * len(traces))
    fig, axes = plt.subplots(len(traces), len(LIPS), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained")
    for row, (system, found) in zip(axes, traces.items(), strict=True):
        colour = MODEL_COLOURS.get(system, TRUTH_COLOUR)
        for ax, letter in zip(row, LIPS, strict=True):
            ax.axhline(CLOSED_GAP_MM, color="#777777", linestyle="--", linewidth=1)
            gaps_mm = found[found.index.get_level_values("letter") == letter].to_numpy()
            if len(gaps_mm):
                ax.plot(times_ms, gaps_mm.T, color=colour, alpha=min(1.0, 8 / len(gaps_mm)), linewidth=0.5)
                low, median, high = np.quantile(gaps_mm, (0.25, 0.5, 0.75), axis=0)
                ax.fill_between(times_ms, low, high, color=colour, alpha=0.25, linewidth=0)
                ax.plot(times_ms, median, color=colour, linewidth=2)
            if ax in axes[0]:
                ax.set_title(f"/{letter}/, n = {len(gaps_mm)}")
        row[0].set_ylabel(f"{system}\nlip gap (mm)")
    for ax in axes[-1]:
        ax.set_xlabel("Time from the middle of the sound (ms)")
    fig.supxlabel("Line: median; band: middle half of the instances; dashed: lips that look closed", fontsize=10)
    return fig
