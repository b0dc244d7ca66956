"""The model card that travels with an exported student: what it is, how it was made, how good it is and where it ends."""

from collections.abc import Mapping, Sequence

from facedistill.deploy.corpora import GENERATED, Corpus, limits_of, table, table_of
from facedistill.runtime.model import MAX_ROWS, ModelMetadata

METRICS = {
    "lip_gap_r": "correlation of the lip gap",
    "pbm_1mm": "PBM at 1 mm",
    "false_closures_1mm": "false closures at 1 mm",
    "pbm": "PBM at 5 % false closures",
    "closure_auc": "AUC of closed lips, p, b, m against vowels",
    "lve_mm": "lip vertex error, mm",
}

PARTS = ("activations", "state", "expanded")  # of working memory

# What the benchmark on recordings measures.
REAL_METRICS = {
    "pbm_1mm": "PBM at 1 mm",
    "false_closures_1mm": "false closures at 1 mm",
    "pbm": "PBM at 5 % false closures",
    "false_closures": "false closures there",
    "closure_auc": "AUC of closed lips, p, b, m against vowels",
    "opening_r": "correlation of the lip gap with how open phones are",
}

ABOUT_REAL = """On recordings with phone labels, which no model was trained on, with 95 % intervals. A model without a precision
is float32; `mean` counts all sources alike, `weighted` by their p, b and m. PBM at 1 mm is the share of p, b and m whose lip gap
is at most 1 mm; a false closure is a vowel whose interior is. PBM at 5 % false closures takes another gap for each system and
source: it ranks them, and says nothing of how closed lips look. Of few vowels more than 5 % close, since one does at the least.

"""

CARD = """# {m.name}

A student of facedistill: {n_parameters:,} parameters of convolutions and fully-connected layers that turn speech into the
{n_curves} ARKit curves, {hop_ms:g} ms at a time.

| | |
|---|---|
| input | mono sound at {m.sample_rate_hz:,} Hz |
| window | {window_ms:g} ms, of which {past_ms:g} ms are past and {future_ms:g} ms future |
| output | curves in 0..1, named in the metadata; a frame every {hop_ms:g} ms, {past_ms:g} ms after the start of its window |
| licence | {m.licence} |
| training data | see below; SHA-256 `{m.training_data_sha256}` |

## Files

{files}

A file that ends in `-window.onnx` is a pure function of one window: `window` (1, {m.window_samples}) -> `curves` (1, {n_curves}).
Every other is a step in a stream: `frames` (L, {frame}), each row the {hop} samples before and the {hop} new ones, and
`state_in`, at first zeros -> `curves` (L, {n_curves}) and `state_out`, each state with the new rows behind it, whose last rows
are the state of the next step. A frame is valid once its whole window has been seen: run the first {warm_up} steps on silence.
`facedistill.runtime` does all of this. Both give the same bits. float16 holds half-precision weights and computes in float32;
int8 holds and computes 8 bits behind the filterbank, states too, in standard QuantizeLinear and DequantizeLinear. Working
memory is what a run of at most {max_rows} steps holds besides: activations, state before and after, and
float16 weights as float32.

## Training data

What the teacher and its students learnt from. Nothing of it is in this folder; the licences are those of the recordings.

{corpora}

## Quality

On {n_test} utterances of voices that no model was trained on (synthetic speech), through the streaming engine, with 95 %
intervals:

{quality}

{drift}
{real_speech}
## Limits

{limits} Eyes and brows
follow the averages of speech; blinks are better added by a layer of their own. Music, crowds and several voices at once were not
tested. The curves move lips, not meaning: they are no evidence of what was said.
"""


def model_card(
    metadata: ModelMetadata,
    n_parameters: int,
    corpora: Sequence[Corpus],
    files: Mapping[str, Mapping],
    quality: Mapping[str, Mapping],
    real_speech: str = "",
) -> str:
    """The card as Markdown.

    Args:
        metadata: of any of the files.
        n_parameters: of the student.
        corpora: what it was trained on.
        files: {file name: precision, kind, bytes, sha256, activations_bytes, state_bytes, expanded_bytes}.
        quality: {"scores": {precision: aggregate}, "differences": {file name: weights}, "tolerances": {precision: weights}}.
        real_speech: a section of its own, see `real_speech_section`; none if empty.
    """
    scores = quality["scores"]
    names = ("window", "past", "future", "hop")
    lengths_ms = {f"{name}_ms": 1000 * getattr(metadata, f"{name}_samples") / metadata.sample_rate_hz for name in names}
    return CARD.format(
        m=metadata,
        **lengths_ms,
        n_parameters=n_parameters,
        n_curves=len(metadata.curves),
        hop=metadata.hop_samples,
        frame=2 * metadata.hop_samples,
        max_rows=MAX_ROWS,
        warm_up=metadata.window_samples // metadata.hop_samples - 2,
        files=_files(files),
        corpora=_corpora(corpora),
        n_test=next(iter(scores.values()))["lip_gap_r"]["n"],
        quality=_quality(scores),
        drift=_drift(quality),
        real_speech=real_speech and f"\n{real_speech}\n",
        limits=limits_of(corpora),
    )


def real_speech_section(results: Mapping[str, Mapping]) -> str:
    """What the benchmark on recordings found.

    Args:
        results: {system: {source of recordings: {metric of `REAL_METRICS`: value, low, high and n}}}; other metrics and facts
            may be among them.
    """
    title = "## Real speech\n\n"
    measured = [(system, *row) for system, rows in results.items() for row in rows.items() if isinstance(row[1], Mapping)]
    if not measured:
        return f"{title}Not measured."
    metrics = [metric for metric in REAL_METRICS if any(metric in scores for *_, scores in measured)]
    heads = ["model", "recordings", "p, b, m", *(REAL_METRICS[metric] for metric in metrics)]
    rows = [
        [f"`{system}`", source, f"{scores['pbm']['n']:,}", *(_interval(scores[metric]) for metric in metrics)]
        for system, source, scores in measured
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return title + ABOUT_REAL + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _corpora(corpora: Sequence[Corpus]) -> str:
    about = f"\n\nWhat is `{GENERATED}` was synthesised by this project; its speakers are voices of the synthesiser."
    return table_of(corpora) + (about if any(corpus.is_synthetic for corpus in corpora) else "")


def _files(files: Mapping[str, Mapping]) -> str:
    memory = {name: sum(file[f"{part}_bytes"] for part in PARTS) for name, file in files.items()}
    return table(
        "| file | weights | working memory | SHA-256 |",
        [
            (f"`{name}`", f"{file['bytes'] / 1e6:.2f} MB", f"{memory[name] / 1e6:.3f} MB", f"`{file['sha256']}`")
            for name, file in files.items()
        ],
    )


def _quality(scores: Mapping[str, Mapping]) -> str:
    rows = [(title, *(_interval(found[metric]) for found in scores.values())) for metric, title in METRICS.items()]
    return table(f"| | {' | '.join(scores)} |", rows)


def _interval(summary: Mapping[str, float | None]) -> str:
    if summary["value"] is None:
        return "not measurable"
    if summary["low"] is None:
        return f"{summary['value']:.3f}"
    return f"{summary['value']:.3f} [{summary['low']:.3f}, {summary['high']:.3f}]"


def _drift(quality: Mapping[str, Mapping]) -> str:
    parts = [f"`{name}` {value:.2g}" for name, value in quality["differences"].items()]
    allowed = ", ".join(f"{precision} {value:g}" for precision, value in quality["tolerances"].items())
    return f"On test speech, curves differ from the network's by at most: {', '.join(parts)}. Allowed: {allowed}."
