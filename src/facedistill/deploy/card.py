"""The model card that travels with an exported student: what it is, what it was made of, how good it is and where it ends."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from facedistill.core.manifest import Utterance, hours, select
from facedistill.runtime.model import MAX_ROWS, ModelMetadata

GENERATED = "generated"  # the licence of speech that this project synthesises
NOT_STATED = "not stated"
ANONYMOUS = {"unknown", "und"}  # speaker and language of a recording that nothing is known of

TITLES = {
    "lip_gap_r": "correlation of the lip gap",
    "pbm_1mm": "PBM at 1 mm",
    "false_closures_1mm": "false closures at 1 mm",
    "pbm": "PBM at 5 % false closures",
    "false_closures": "false closures there",
    "closure_auc": "AUC of closed lips, p, b, m against vowels",
    "lve_mm": "lip vertex error, mm",
    "opening_r": "correlation of the lip gap with how open phones are",
}
METRICS = ("lip_gap_r", "pbm_1mm", "false_closures_1mm", "pbm", "closure_auc", "lve_mm")  # of test speech
REAL_METRICS = ("pbm_1mm", "false_closures_1mm", "pbm", "false_closures", "closure_auc", "opening_r")  # of recordings
PARTS = ("activations", "state", "expanded")  # of working memory

REAL_TITLE = "## Real speech\n\n"
ABOUT_REAL = """On recordings with phone labels, which no model was trained on, with 95 % intervals. A model without a precision
is float32; `mean` counts all sources alike, `weighted` by their p, b and m. PBM at 1 mm is the share of p, b and m whose lip gap
is at most 1 mm; a false closure is a vowel whose interior is. PBM at 5 % false closures takes another gap for each system and
source: it ranks them, and says nothing of how closed lips look. Of few vowels more than 5 % close, since one does at the least.

"""

ABOUT_GENERATED = f"\n\nWhat is `{GENERATED}` was synthesised by this project; its speakers are voices of the synthesiser."

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

{corpora}{about_generated}

## Quality

On {n_test} utterances of voices that no model was trained on (synthetic speech), through the streaming engine, with 95 %
intervals:

{quality}

On test speech, curves differ from the network's by at most: {differences}. Allowed: {tolerances}.
{real_speech}
## Limits

{limits} Eyes and brows
follow the averages of speech; blinks are better added by a layer of their own. Music, crowds and several voices at once were not
tested. The curves move lips, not meaning: they are no evidence of what was said.
"""


@dataclass(frozen=True)
class Corpus:
    """The training data of one source of the manifest."""

    source: str
    hours: float  # of sound
    speakers: int  # how many are told apart; those that are not known do not count
    languages: tuple[str, ...]  # sorted, as are the licences
    licences: tuple[str, ...]

    @property
    def is_synthetic(self) -> bool:
        return tuple(self.licences) == (GENERATED,)


def corpora_of(utterances: Iterable[Utterance]) -> list[Corpus]:
    """The training data of the teacher and the students in a manifest, the largest source first."""
    rows_of: dict[str, list[Utterance]] = {}
    for row in select(utterances, "paired", "unlabelled"):
        rows_of.setdefault(row.source, []).append(row)
    found = [
        Corpus(
            source=source, hours=round(hours(rows), 4),
            speakers=len({row.speaker for row in rows} - ANONYMOUS),
            languages=tuple(sorted({row.language for row in rows} - ANONYMOUS)),
            licences=tuple(sorted({row.licence or NOT_STATED for row in rows})),
        )
        for source, rows in rows_of.items()
    ]  # fmt: skip
    return sorted(found, key=lambda corpus: (-corpus.hours, corpus.source))


def model_card(
    metadata: ModelMetadata, n_parameters: int, corpora: Sequence[Corpus], files: Mapping[str, Mapping],
    quality: Mapping[str, Mapping], real_speech: str = "",
) -> str:  # fmt: skip
    """The card as Markdown.

    Args:
        metadata: of any of the files.
        files: {file name: precision, kind, bytes, sha256, activations_bytes, state_bytes, expanded_bytes}.
        quality: {"scores": {precision: aggregate}, "differences": {file name: weights}, "tolerances": {precision: weights}}.
        real_speech: see `real_speech_section`; none if empty.
    """
    scores, names = quality["scores"], ("window", "past", "future", "hop")
    lengths_ms = {f"{name}_ms": 1000 * getattr(metadata, f"{name}_samples") / metadata.sample_rate_hz for name in names}
    values = ([TITLES[metric], *(_interval(found[metric]) for found in scores.values())] for metric in METRICS)
    return CARD.format(
        m=metadata, **lengths_ms, n_parameters=n_parameters, n_curves=len(metadata.curves), hop=metadata.hop_samples,
        frame=2 * metadata.hop_samples, max_rows=MAX_ROWS, warm_up=metadata.window_samples // metadata.hop_samples - 2,
        files=_table("| file | weights | working memory | SHA-256 |", (_file_row(*file) for file in files.items())),
        corpora=_table("| source | hours | speakers | languages | licence |", map(_corpus_row, corpora)),
        about_generated=ABOUT_GENERATED if any(corpus.is_synthetic for corpus in corpora) else "",
        n_test=next(iter(scores.values()))["lip_gap_r"]["n"], quality=_table(f"| | {' | '.join(scores)} |", values),
        differences=", ".join(f"`{name}` {value:.2g}" for name, value in quality["differences"].items()),
        tolerances=", ".join(f"{precision} {value:g}" for precision, value in quality["tolerances"].items()),
        real_speech=real_speech and f"\n{real_speech}\n", limits=limits_of(corpora),
    )  # fmt: skip


def real_speech_section(results: Mapping[str, Mapping]) -> str:
    """What the benchmark on recordings found: {system: {source: {metric: value, low, high and n}}}, and more that is left out."""
    measured = [(system, *row) for system, rows in results.items() for row in rows.items() if isinstance(row[1], Mapping)]
    if not measured:
        return f"{REAL_TITLE}Not measured."
    metrics = [metric for metric in REAL_METRICS if any(metric in scores for *_, scores in measured)]
    heads = ["model", "recordings", "p, b, m", *(TITLES[metric] for metric in metrics)]
    rows = [
        [f"`{system}`", source, f"{scores['pbm']['n']:,}", *(_interval(scores[metric]) for metric in metrics)]
        for system, source, scores in measured
    ]
    return REAL_TITLE + ABOUT_REAL + "\n".join(map(_line, [heads, ["---"] * len(heads), *rows]))


def limits_of(corpora: Sequence[Corpus]) -> str:
    """What follows from the training data, in a sentence or two."""
    synthetic, recorded = ([corpus for corpus in corpora if corpus.is_synthetic is kind] for kind in (True, False))
    hours = [sum(corpus.hours for corpus in part) for part in (synthetic, recorded)]
    parts = [f"{hours[0]:.1f} h of synthetic speech"] if synthetic else []
    if recorded:
        speakers = sum(corpus.speakers for corpus in recorded)
        parts.append(f"{hours[1]:.1f} h of recordings" + (f" by {speakers:,} speakers" if speakers else ""))
    data = " and ".join(parts) or "nothing"
    text = f"Trained on {data}, with curves made by rule or by a teacher of such: none are of filmed faces."
    return text if recorded else f"{text} No recording was heard: on real speech lips close less often than they should."


def _table(heads: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its heads as a line of it."""
    return "\n".join([heads, "|" + "---|" * (heads.count("|") - 1), *map(_line, rows)])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _corpus_row(corpus: Corpus) -> list[str]:
    known = [", ".join(corpus.languages) or NOT_STATED, ", ".join(corpus.licences)]
    cells = [corpus.source, f"{corpus.hours:.2f}", str(corpus.speakers or NOT_STATED), *known]
    return [cell.replace("|", "\\|") for cell in cells]


def _file_row(name: str, file: Mapping) -> list[str]:
    memory = sum(file[f"{part}_bytes"] for part in PARTS)
    return [f"`{name}`", f"{file['bytes'] / 1e6:.2f} MB", f"{memory / 1e6:.3f} MB", f"`{file['sha256']}`"]


def _interval(summary: Mapping[str, float | None]) -> str:
    value, low, high = ("" if summary[end] is None else f"{summary[end]:.3f}" for end in ("value", "low", "high"))
    return (f"{value} [{low}, {high}]" if low else value) or "not measurable"
