"""The one reader of params.yaml: a typed schema that is checked whole before any work starts."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from facedistill.core.errors import InputError
from facedistill.core.paths import PARAMS

GUIDE = "small"  # the student of stage 1, frozen feature teacher of stage 2
N_VARIANTS = 70  # voices that espeak-ng brings and that a human vocal tract could have, see `speech.espeak`
POSITION_GROUPS = 16  # of the encoder's positional convolution
STEP_MS = 32  # a student sees two frames of the 16 ms grid, and two more for each unit of dilation

Ratio = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


def _ascends(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the first value must not be above the second")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ascends)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ascends)]
Rate = Annotated[float, Field(ge=80, le=450)]  # what espeak-ng speaks
Percent = Annotated[float, Field(ge=0, le=99)]


class Section(BaseModel):
    """Every section is frozen and refuses unknown keys and wrong types."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VoiceCounts(Section):
    """How many espeak voice variants each split speaks with; no variant is in two splits."""

    paired: Count
    unlabelled: Count
    validation: Count
    test: Count

    @model_validator(mode="after")
    def _there_are_enough(self) -> Self:
        n_voices = self.paired + self.unlabelled + self.validation + self.test
        if n_voices > N_VARIANTS:
            raise ValueError(f"{n_voices} voices; allowed: at most {N_VARIANTS} in all splits together")
        return self


class Hours(Section):
    """Hours of synthetic speech in each split; test is the length of each of the three test splits."""

    paired: Positive
    unlabelled: Positive
    validation: Positive
    test: Positive


class SyntheticParams(Section):
    """The espeak-ng corpus."""

    languages: Annotated[tuple[str, ...], Field(min_length=1)]
    unseen_languages: Annotated[tuple[str, ...], Field(min_length=1)]
    voices: VoiceCounts
    hours: Hours
    rate_wpm: Annotated[tuple[Rate, Rate], AfterValidator(_ascends)]
    pitch: Annotated[tuple[Percent, Percent], AfterValidator(_ascends)]
    pitch_range: Annotated[tuple[Percent, Percent], AfterValidator(_ascends)]

    @model_validator(mode="after")
    def _unseen_is_unseen(self) -> Self:
        both = sorted(set(self.languages) & set(self.unseen_languages))
        if both:
            raise ValueError(f"unseen_languages: {both[0]!r} is in languages too; allowed: languages that are not")
        return self


class RecordingsParams(Section):
    """Real recordings: a folder of audio, or a manifest in this project's format; null leaves them out.

    Training recordings whose "source/speaker" or "source/id" matches a pattern of `held_out` are kept for comparing models.
    """

    path: str | None
    held_out: tuple[str, ...]


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

    speed: PositiveRange
    gain_db: Range
    equalise: Ratio
    equaliser_db: NonNegative
    room: Ratio
    rt60_s: Annotated[float, Field(gt=0.1, le=2)]
    noise: Ratio
    snr_db: Range
    telephone: Ratio
    clip: Ratio
    quiet: Ratio
    quiet_db: Range


class OptimizerParams(Section):
    """AdamW with warm-up and a cosine over the steps of a run."""

    precision: Literal["float32", "bfloat16"]
    batch_size: Count
    crop_s: Annotated[float, Field(ge=0.1, le=30)]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_norm: Positive


class RecogniserParams(Section):
    """The phone model: `source` is "scratch", a hub id, or a folder with a Wav2Vec2 CTC model of espeak-ng's phones."""

    source: str
    channels: Count


class AlignParams(Section):
    """Stage 2: rounds of training and alignment, and the least confidence of a recording that is kept."""

    recogniser: RecogniserParams
    steps: Count
    rounds: Annotated[int, Field(ge=0)]
    round_steps: Count
    min_confidence: Ratio
    optimizer: OptimizerParams
    augment: AugmentParams


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

    @model_validator(mode="after")
    def _width_divides(self) -> Self:
        for name, parts in (("heads", self.heads), ("position groups", POSITION_GROUPS)):
            if self.width % parts:
                raise ValueError(f"width: {self.width}; allowed: multiples of {parts}, its {name}")
        return self


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
    """Stage 3."""

    encoder: EncoderParams
    generator: GeneratorParams
    losses: TeacherLosses
    steps: Count
    optimizer: OptimizerParams
    augment: AugmentParams


class LabelParams(Section):
    """Stage 4: which splits the teacher labels, and whether paired utterances keep the curves they have instead."""

    splits: tuple[Literal["unlabelled", "paired"], ...]
    keep_paired: bool
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
    if GUIDE not in students:
        raise ValueError(f"no student {GUIDE!r}, which guides the others")
    for name, student in students.items():
        others = [other for other in students if other != name and students[other].start is None]
        fitting = [other for other in others if students[other].channels == student.channels]
        if student.start is not None and student.start not in fitting:
            allowed = ", ".join(["null", *fitting])
            raise ValueError(f"{name}.start: {student.start!r}; allowed: {allowed} (as many channels, no start of its own)")
    return students


class StudentLosses(Section):
    """Weights of the students' losses; feature 0 turns hybrid distillation off. Consistency hears every crop twice."""

    reconstruction: NonNegative
    velocity: NonNegative
    lip_gap: NonNegative
    closure: NonNegative
    phones: NonNegative
    feature: NonNegative
    consistency: NonNegative


class DistillParams(Section):
    """Stage 5; `level_ratio` of a frame's level stays in the bands that students hear, see `filterbank.Filterbank`."""

    filters: Count
    level_ratio: Ratio
    dilations: tuple[Count, ...]
    students: Annotated[dict[str, StudentParams], AfterValidator(_starts_fit)]
    losses: StudentLosses
    optimizer: OptimizerParams
    augment: AugmentParams

    @model_validator(mode="after")
    def _dilations_fill_windows(self) -> Self:
        field_ms = STEP_MS * (1 + sum(self.dilations))
        for name, student in self.students.items():
            window_ms = student.past_ms + student.future_ms
            if window_ms != field_ms:
                raise ValueError(f"students.{name}: a window of {window_ms} ms; allowed: {field_ms} ms, which the dilations see")
        return self


class Variant(Section):
    """A named delta from the distilled student `student`."""

    student: str
    data: Literal["pseudo-labels", "paired"]
    feature: NonNegative
    why: str


class AblateParams(Section):
    """Stage 6."""

    variants: dict[str, Variant]


class EvaluateParams(Section):
    """Stage 7."""

    bootstrap: Count
    ensemble: tuple[float, float, float]
    max_utterances: Count


class Tolerances(Section):
    """How far any curve of an exported graph may be from the network's, in every precision."""

    float32: Positive
    float16: Positive
    int8: Positive


class ExportParams(Section):
    """Stage 8: how many utterances of unlabelled and of test-voices calibrate int8 and measure every precision."""

    calibration_utterances: Count
    test_utterances: Count
    tolerances: Tolerances


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    prepare: PrepareParams
    align: AlignParams
    teach: TeachParams
    label: LabelParams
    distill: DistillParams
    ablate: AblateParams
    evaluate: EvaluateParams
    export: ExportParams
    notebooks: dict[str, dict[str, bool | int | float | str]]

    @model_validator(mode="after")
    def _variants_have_students(self) -> Self:
        for name, variant in self.ablate.variants.items():
            if variant.student not in self.distill.students:
                allowed = ", ".join(self.distill.students)
                raise ValueError(f"ablate.variants.{name}.student: {variant.student!r}; allowed: {allowed}")
        return self


def load_params(path: Path = PARAMS) -> Params:
    """Reads and validates a parameter file.

    Raises:
        InputError: missing, not YAML, or a key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
    try:  # as JSON, strictly: `seed: "1"` and `trainable: "yes"` are wrong types, and a list is a tuple
        return Params.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first problem: key, what is allowed, and what was given; and how many more there are."""
    first, *others = error.errors()
    key = ".".join(map(str, first["loc"])) or "(whole file)"
    given = "" if first["type"] == "missing" or isinstance(first["input"], dict) else f", got {first['input']!r}"
    more = f" (and {len(others)} more)" if others else ""
    return f"{key}: {first['msg']}{given}{more}"
