"""The one reader of params.yaml: a typed schema that is checked whole before any work starts."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from facedistill.core.errors import InputError
from facedistill.core.paths import PARAMS

Ratio = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _ascends(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the first value must not be above the second")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ascends)]


class Section(BaseModel):
    """Every section is frozen and refuses unknown keys and wrong types."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class VoiceCounts(Section):
    """How many espeak voice variants each split speaks with; no variant is in two splits."""

    paired: Count
    unlabelled: Count
    validation: Count
    test: Count


class Hours(Section):
    """Hours of synthetic speech in each split; test is the length of each of the three test splits."""

    paired: Positive
    unlabelled: Positive
    validation: Positive
    test: Positive


class SyntheticParams(Section):
    """The espeak-ng corpus."""

    languages: tuple[str, ...]
    unseen_languages: tuple[str, ...]
    voices: VoiceCounts
    hours: Hours
    rate_wpm: Range
    pitch: Range
    pitch_range: Range


class RecordingsParams(Section):
    """Real recordings: a folder of audio, or a manifest in this project's format; null leaves them out."""

    path: str | None


class LibriSpeechParams(Section):
    """LibriSpeech in its published folder layout; null leaves it out."""

    root: str | None
    unlabelled: tuple[Literal["train-clean-100", "train-clean-360", "train-other-500"], ...]
    test: tuple[Literal["test-clean", "test-other"], ...]


class PrepareParams(Section):
    """Stage 1."""

    synthetic: SyntheticParams
    recordings: RecordingsParams
    librispeech: LibriSpeechParams
    articulation: Positive


class AugmentParams(Section):
    """Probabilities and ranges of the training augmentation."""

    speed: Range
    gain_db: Range
    equalise: Ratio
    equaliser_db: NonNegative
    room: Ratio
    rt60_s: Annotated[float, Field(gt=0.1, le=2)]
    noise: Ratio
    snr_db: Range
    telephone: Ratio
    clip: Ratio


class OptimizerParams(Section):
    """AdamW with warm-up and a cosine over the steps of a run."""

    batch_size: Count
    crop_s: Annotated[float, Field(ge=0.1, le=30)]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_norm: Positive


class EncoderParams(Section):
    """The speech encoder: `source` is "scratch", a hub id, or a folder with a HuBERT checkpoint.

    The sizes are those of the network trained from scratch; a checkpoint brings its own.
    """

    source: str
    trainable: bool
    filters: Count
    width: Count
    layers: Count
    heads: Count
    feed_forward: Count


class GeneratorParams(Section):
    """The mesh generator."""

    channels: Count
    lstm: Count
    latent: Count


class TeacherLosses(Section):
    """Weights of the teacher's losses."""

    mesh: NonNegative
    rig: NonNegative
    velocity: NonNegative
    lip_gap: NonNegative
    closure: NonNegative
    phones: NonNegative
    divergence: NonNegative


class TeachParams(Section):
    """Stage 2."""

    encoder: EncoderParams
    generator: GeneratorParams
    losses: TeacherLosses
    steps: Count
    optimizer: OptimizerParams
    augment: AugmentParams


class LabelParams(Section):
    """Stage 3: which splits the teacher labels."""

    splits: tuple[Literal["unlabelled", "paired"], ...]
    shard_utterances: Count
    chunk_s: Annotated[float, Field(ge=2, le=60)]


class StudentParams(Section):
    """One student: its network, the student of another window that its weights start from (or null), and its training."""

    channels: Count
    past_ms: Count
    future_ms: Annotated[int, Field(ge=0)]
    start: str | None
    steps: Count


def _starts_fit(students: dict[str, StudentParams]) -> dict[str, StudentParams]:
    for name, student in students.items():
        fitting = [other for other in students if other != name and students[other].channels == student.channels]
        if student.start is not None and student.start not in fitting:
            allowed = ", ".join(["null", *fitting])
            raise ValueError(f"{name}.start: {student.start!r}; allowed: {allowed} (as many channels)")
    return students


class StudentLosses(Section):
    """Weights of the students' losses; feature 0 turns hybrid distillation off."""

    reconstruction: NonNegative
    velocity: NonNegative
    lip_gap: NonNegative
    closure: NonNegative
    phones: NonNegative
    feature: NonNegative


class DistillParams(Section):
    """Stage 4."""

    filters: Count
    dilations: tuple[Count, ...]
    students: Annotated[dict[str, StudentParams], AfterValidator(_starts_fit)]
    losses: StudentLosses
    optimizer: OptimizerParams
    augment: AugmentParams


class Variant(Section):
    """A named delta from the distilled student `student`."""

    student: str
    data: Literal["pseudo-labels", "paired"]
    feature: NonNegative
    why: str


class AblateParams(Section):
    """Stage 5."""

    variants: dict[str, Variant]


class EvaluateParams(Section):
    """Stage 6."""

    bootstrap: Count
    ensemble: tuple[float, float, float]
    max_utterances: Count


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    prepare: PrepareParams
    teach: TeachParams
    label: LabelParams
    distill: DistillParams
    ablate: AblateParams
    evaluate: EvaluateParams
    notebooks: dict[str, dict[str, bool | int | float | str]]


def load_params(path: Path = PARAMS) -> Params:
    """Reads and validates a parameter file.

    Raises:
        InputError: missing, not YAML, or a key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first problem: key, what is allowed, and what was given; and how many more there are."""
    first, *others = error.errors()
    key = ".".join(map(str, first["loc"])) or "(whole file)"
    given = "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", got {first['input']!r}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{key}: {first['msg']}{given}{more}"
