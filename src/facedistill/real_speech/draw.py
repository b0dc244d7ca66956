"""Step `draw`: table 6 and figure 11 of what `score` measured."""

from pathlib import Path

import pandas as pd

from facedistill.drawing.figures import save_figure, save_table, set_style
from facedistill.real_speech import tables
from facedistill.real_speech.figure import benchmark_figure

TABLE, FIGURE = "tab6_real_speech", "fig11_real_speech"
ABOVE = """# Table 6: recorded speech

{n} test recordings ({minutes:.0f} min) of {n_sources} sources, on which nothing was trained or fitted but the threshold of PBM.
AUC: the chance that the lips are closer in a frame of /p b m/ than in a frame of a vowel. Correlation: of the lip gap with a
coarse opening of the phones. PBM: the share of /p b m/ whose smallest gap is at most the 5 % quantile of the vowels' (a threshold
a source). Mean: over sources, each alike; weighted: by their /p b m/. Lag: the shift of the curves that gives the best {fit} on
{n_lag} labelled training recordings; all numbers are at lag 0 but those that say otherwise. In brackets: 95 % bootstrap intervals
over recordings (speakers, where a source has several); a source of one recording adds none. Jitter at {fps} frames a second."""

NOTES = {
    "headaudio": "headaudio as it is shipped never shows its viseme aa, which keeps the mouth at the sound before.",
    "rhubarb": "rhubarb uses its recogniser of sounds, which needs no language.",
    "wlipsync": "wlipsync comes uncalibrated: it was given vowels and silences of the labelled training recordings.",
}


def draw(folder: Path) -> None:
    """Writes `tab6_real_speech` as .md and .csv and `fig11_real_speech` as .png and .svg.

    Raises:
        InputError: `score` has not run.
    """
    results, details = tables.read_results(folder)
    sources, settings = details["recordings"], details["settings"]
    above = ABOVE.format(
        n=sum(source["n_recordings"] for source in sources.values()),
        minutes=sum(source["duration_s"] for source in sources.values()) / 60,
        n_sources=len(sources),
        n_lag=sum(source["n_recordings"] for source in details["lag_recordings"].values()),
        fit="AUC" if settings["lag"]["fit"] == "auc" else "correlation",
        fps=settings["fps"],
    )
    parts = [
        *((f"{tables.METRICS[metric][0]} by source", tables.by_source(results, metric)) for metric in ("auc", "r", "pbm")),
        ("Closures late by (ms), median, by source", tables.by_source(results, "closure_lag_ms")),
        *(
            (f"{tables.METRICS[metric][0]} by language, weighted", tables.by_language(details, metric))
            for metric in ("auc", "pbm")
        ),
        (
            f"AUC by condition, weighted, at most {settings['conditions']['max_recordings']} recordings a source",
            tables.by_condition(details),
        ),
        ("Nobody speaks: mean distance of the lip gap from rest, and jitter over that in speech", tables.by_quiet(details)),
        ("Sources", _sources(sources)),
    ]
    below = "\n\n".join(f"## {title}\n\n{_markdown(frame)}" for title, frame in parts if len(frame))
    below += "".join(f"\n\n{note}" for name, note in NOTES.items() if name in results)
    if details["skipped"]:
        below += "\n\nNot here: " + "; ".join(f"{name} ({why})" for name, why in details["skipped"].items()) + "."
    shown = tables.readable(results, details)
    save_table(tables.numbers(results, details), TABLE, folder=folder, readable=shown, above=above, below=below)
    set_style()
    save_figure(benchmark_figure(results, details), FIGURE, folder=folder)


def _sources(sources: dict[str, dict]) -> pd.DataFrame:
    return pd.DataFrame([
        {
            "Source": name, "Recordings": str(source["n_recordings"]), "Speakers": str(source["n_speakers"]),
            "of these in another split too": str(source["n_speakers_heard"]),
            "Seconds": f"{source['duration_s']:.0f}", "Languages": ", ".join(source["languages"]),
            "Labels": ", ".join(source["label_kinds"]),
        }
        for name, source in sources.items()
    ])  # fmt: skip


def _markdown(frame: pd.DataFrame) -> str:
    return frame.fillna(tables.DASH).to_markdown(index=False, disable_numparse=True)
