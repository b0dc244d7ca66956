"""What models learn from, corpus by corpus: how much, from whom, in which languages and under which licences."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from facedistill.core.manifest import Utterance, select

TRAINED = ("paired", "unlabelled")  # splits of data/prepare that the teacher and the students learn from
GENERATED = "generated"  # the licence of speech that this project synthesises
NOT_STATED = "not stated"
ANONYMOUS = ("unknown", "und")  # speaker and language of a recording that nothing is known of


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
    """The training data of a manifest, the largest source first; what is only measured on is left out."""
    rows_of: dict[str, list[Utterance]] = {}
    for row in select(utterances, *TRAINED):
        rows_of.setdefault(row.source, []).append(row)
    found = [
        Corpus(
            source=source,
            hours=round(sum(row.duration_s for row in rows) / 3600, 4),
            speakers=len({row.speaker for row in rows} - {*ANONYMOUS}),
            languages=tuple(sorted({row.language for row in rows} - {*ANONYMOUS})),
            licences=tuple(sorted({row.licence or NOT_STATED for row in rows})),
        )
        for source, rows in rows_of.items()
    ]
    return sorted(found, key=lambda corpus: (-corpus.hours, corpus.source))


def table_of(corpora: Sequence[Corpus]) -> str:
    """A row a corpus, in Markdown."""
    rows = [
        (
            corpus.source, f"{corpus.hours:.2f}", str(corpus.speakers or NOT_STATED), ", ".join(corpus.languages) or NOT_STATED,
            ", ".join(corpus.licences),
        )
        for corpus in corpora
    ]  # fmt: skip
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return table("| source | hours | speakers | languages | licence |", escaped)


def table(heads: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, its heads as a line of it."""
    return "\n".join([heads, "|" + "---|" * (heads.count("|") - 1), *(f"| {' | '.join(row)} |" for row in rows)])


def limits_of(corpora: Sequence[Corpus]) -> str:
    """What follows from the training data, in a sentence or two."""
    synthetic, recorded = ([corpus for corpus in corpora if corpus.is_synthetic is kind] for kind in (True, False))
    hours = [sum(corpus.hours for corpus in part) for part in (synthetic, recorded)]
    parts = [f"{hours[0]:.1f} h of synthetic speech"] if synthetic else []
    if recorded:
        speakers = sum(corpus.speakers for corpus in recorded)
        parts.append(f"{hours[1]:.1f} h of recordings" + (f" by {speakers:,} speakers" if speakers else ""))
    curves = "with curves made by rule or by a teacher of such: none are of filmed faces."
    text = f"Trained on {' and '.join(parts) or 'nothing'}, {curves}"
    return text if recorded else f"{text} No recording was heard: on real speech lips close less often than they should."
