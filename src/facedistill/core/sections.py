"""The sections of params.yaml: what each stage may be told, with types and bounds."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

BASELINE = "baseline"  # the variant without a difference
FEATURE_TEACHER = "small"  # the student of stage 1, frozen feature teacher of stage 2
N_VARIANTS = 70  # voices that espeak-ng brings and that a human vocal tract could have, see `speech.espeak`
POSITION_GROUPS = 16  # of the encoder's positional convolution
STEP_MS = 32  # a student of one frame sees two steps of the 16 ms grid, and two more for each unit of dilation
WINDOWS_MS = tuple(STEP_MS * 2**n_blocks for n_blocks in range(1, 7))

Ratio = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # of a folder of data, so never a way out of it


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
            raise ValueError(f"{n_voices} voices; expected at most {N_VARIANTS} in all splits together")
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
            raise ValueError(f"unseen_languages: {both[0]!r} is in languages too; expected languages that are not")
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
    non_speech: Ratio
    non_speech_db: Range


class OptimizerParams(Section):
    """AdamW with warm-up and a cosine over the steps of a run."""

    precision: Literal["float32", "bfloat16"]
    batch_size: Count
    crop_s: Annotated[float, Field(ge=0.1, le=30)]
    learning_rate: Positive
    weight_decay: NonNegative
    warmup_steps: Annotated[int, Field(ge=0)]
    clip_norm: Positive


class AlignerParams(Section):
    """The phone model: `source` is "scratch", a hub id, or a folder with a Wav2Vec2 CTC model of espeak-ng's phones."""

    source: str
    channels: Count


class AlignParams(Section):
    """Stage 2: rounds of training and alignment, and the least confidence of a recording that is kept."""

    aligner: AlignerParams
    steps: Count
    rounds: Annotated[int, Field(ge=0)]
    round_steps: Count
    min_confidence: Ratio
    optimizer: OptimizerParams
    augment: AugmentParams


class EncoderParams(Section):
    """The speech encoder: `source` is "scratch", "mfcc" (no network at all), a hub id, or a folder with a HuBERT checkpoint.

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
                raise ValueError(f"width: {self.width}; expected multiples of {parts}, its {name}")
        return self


class GeneratorParams(Section):
    """The mesh generator; its meshes move along the curves' shapes and along `n_free_directions` more, which it learns."""

    channels: Count
    lstm: Count
    latent: Count
    n_free_directions: Annotated[int, Field(ge=0)]


class TeacherLosses(Section):
    """Weights of the teacher's losses."""

    mesh: NonNegative
    rig: NonNegative
    velocity: NonNegative
    lip_gap: NonNegative
    closure: NonNegative
    phones: NonNegative
    kl: NonNegative


class TeachParams(Section):
    """Stage 3."""

    encoder: EncoderParams
    generator: GeneratorParams
    losses: TeacherLosses
    steps: Count
    optimizer: OptimizerParams
    augment: AugmentParams


Split = Literal["unlabelled", "paired"]  # that a teacher may label


class LabelParams(Section):
    """Stage 4: which splits the teacher labels, and whether paired utterances keep the curves they have instead."""

    splits: tuple[Split, ...]
    keep_paired: bool
    shard_utterances: Count
    chunk_s: Annotated[float, Field(ge=2, le=60)]


def _fills(window_ms: int) -> int:
    if window_ms not in WINDOWS_MS:
        raise ValueError(f"expected {', '.join(map(str, WINDOWS_MS))}, which dilations of 1, 2, 4, ... fill")
    return window_ms


class StudentParams(Section):
    """One student: its network, the student of another window that its weights start from (or null), and its training."""

    channels: Count
    window_ms: Annotated[int, AfterValidator(_fills)]
    future_ms: Annotated[int, Field(ge=0)]
    start: str | None
    steps: Count

    @model_validator(mode="after")
    def _future_is_in_the_window(self) -> Self:
        if self.future_ms > self.window_ms:
            raise ValueError(f"future_ms: {self.future_ms}; expected at most window_ms, {self.window_ms}")
        return self

    @property
    def past_ms(self) -> int:
        """What a student sees before the frame it animates."""
        return self.window_ms - self.future_ms

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of its blocks: 1, 2, 4, ..., until they see the whole window."""
        return tuple(2**block for block in range((self.window_ms // STEP_MS).bit_length() - 1))


def _network(student: StudentParams) -> tuple[int, int]:
    return student.channels, student.window_ms


def _starts_fit(students: dict[str, StudentParams]) -> dict[str, StudentParams]:
    if FEATURE_TEACHER not in students:
        raise ValueError(f"no student {FEATURE_TEACHER!r}, which guides the others")
    for name, student in students.items():
        others = [other for other in students if other != name and students[other].start is None]
        fitting = [other for other in others if _network(students[other]) == _network(student)]
        if student.start is not None and student.start not in fitting:
            allowed = ", ".join(["null", *fitting])
            raise ValueError(
                f"{name}.start: {student.start!r}; expected {allowed} (as many channels, as long a window, no start of its own)"
            )
    return students


class StudentLosses(Section):
    """Weights of the students' losses; feature 0 turns hybrid distillation off. Consistency hears every crop twice."""

    reconstruction: NonNegative
    velocity: NonNegative
    lip_vertex: NonNegative
    lip_gap: NonNegative
    closure: NonNegative
    phones: NonNegative
    feature: NonNegative
    consistency: NonNegative


class DataParams(Section):
    """What students learn from: whose labels, and which part of the utterances (null: all voices, all languages)."""

    labels: Literal["teacher", "paired"]
    sources: Literal["all", "synthetic", "recordings"]
    hours_ratio: Annotated[float, Field(gt=0, le=1)]
    voices: Count | None
    languages: Count | None


class DistillParams(Section):
    """Stage 5.

    `level_keep_ratio` of a frame's level stays in the bands that students hear, see `filterbank.Filterbank`. The `feature_layers`
    deepest layers are compared with the guide's. Frames with closed lips count `closed_weight` times in the reconstruction loss.
    """

    filters: Count
    level_keep_ratio: Ratio
    data: DataParams
    students: Annotated[dict[Name, StudentParams], AfterValidator(_starts_fit)]
    losses: StudentLosses
    feature_layers: Annotated[int, Field(ge=1, le=2)]
    closed_weight: Annotated[float, Field(ge=1)]
    optimizer: OptimizerParams
    augment: AugmentParams


class Variant(Section):
    """A named delta: {dotted key of params.yaml: value}; more than one key needs a reason."""

    set: dict[str, bool | int | float | str | None]
    why: str | None = None

    @model_validator(mode="after")
    def _many_keys_need_a_reason(self) -> Self:
        if len(self.set) > 1 and not self.why:
            raise ValueError(f"why: missing; expected a variant of {len(self.set)} keys says why it is not one")
        return self


class AblateParams(Section):
    """Stage 6: the student that all are variants of, the seeds that each is trained with, and the variants by name."""

    student: StudentParams
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]
    variants: dict[Name, Variant]

    @model_validator(mode="after")
    def _starts_from_nothing_and_has_a_baseline(self) -> Self:
        if self.student.start is not None:
            raise ValueError(f"student.start: {self.student.start!r}; expected null, since variants do not depend on students")
        if BASELINE not in self.variants or self.variants[BASELINE].set:
            raise ValueError(f"variants.{BASELINE}: missing or not empty; expected `set: {{}}`, what all others differ from")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)}; expected each once")
        return self


class InternalTeacher(Section):
    """The teacher of `teach` with other values at some of its keys, which labels `splits`; with `components`, by its meshes."""

    kind: Literal["ours"]
    splits: Annotated[tuple[Split, ...], Field(min_length=1)]
    set: dict[str, bool | int | float | str | None]
    components: Count | None


class ExternalLabels(Section):
    """Anybody's teacher, by its labels: a folder of recordings, and one of label files of the same names, which may be the same.

    `fps` is the labels' (null: as their files tell, which vertices do not), `components` how many a mesh is reduced to. What
    matches a pattern of `held_out` by its name is what the student is measured on.
    """

    kind: Literal["outside"]
    audio: str
    labels: str
    fps: Annotated[float, Field(ge=1, le=240)] | None
    components: Count
    held_out: Annotated[tuple[str, ...], Field(min_length=1)]

    def is_held_out(self, name: str) -> bool:
        """Whether a recording is one to measure on."""
        return any(fnmatchcase(name, pattern) for pattern in self.held_out)


TeacherChoice = Annotated[InternalTeacher | ExternalLabels, Field(discriminator="kind")]


class EvaluateParams(Section):
    """Stage 8: resamples, the weights of the ensemble, the variants that the main table shows, the student to be smoothed."""

    bootstrap: Count
    ensemble: tuple[float, float, float]
    max_utterances: Count
    baselines: tuple[str, ...]
    smoothed: str


class Tolerances(Section):
    """How far any curve of an exported graph may be from the network's, in every precision."""

    float32: Positive
    float16: Positive
    int8: Positive


class ExportParams(Section):
    """Stage 9: how many utterances of unlabelled and of test-voices calibrate int8 and measure every precision."""

    calibration_utterances: Count
    test_utterances: Count
    tolerances: Tolerances
