"""The sections of params.yaml: types and bounds of all that stages may be told; configs/default.yaml says what each means."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, Field, NonNegativeFloat, PositiveFloat, create_model, model_validator

BASELINE = "baseline"  # the variant without a difference
FEATURE_TEACHER = "small"  # the student of stage 1, frozen feature teacher of stage 2
LEARNERS = ("align", "teach", "distill")  # stages that train: each names in sections `optimizer` and `augment` what differs
N_VARIANTS = 70  # voices that espeak-ng brings and that a human vocal tract could have, see `speech.espeak`
POSITION_GROUPS = 16  # of the encoder's positional convolution
STEP_MS = 32  # a student of one frame sees two steps of the 16 ms grid, and two more for each unit of dilation
WINDOWS_MS = tuple(STEP_MS * 2**n_blocks for n_blocks in range(1, 7))

Kind = TypeVar("Kind")
Ratio = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
NonNegativeInt = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # of a folder of data, so never a way out of it
SomeOf = Annotated[tuple[Kind, ...], Field(min_length=1)]
Changes = dict[str, bool | int | float | str | None]  # {dotted key of params.yaml: value}
Split = Literal["unlabelled", "paired"]  # that a teacher may label


def _ascends(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the first value must not be above the second")
    return bounds


Range = Annotated[tuple[Kind, Kind], AfterValidator(_ascends)]
Percent = Annotated[float, Field(ge=0, le=99)]


class Section(BaseModel, extra="forbid", frozen=True, allow_inf_nan=False):
    """Every section is frozen and refuses unknown keys, wrong types, and values that contradict each other."""

    def contradictions(self) -> Iterator[str]:
        """What is wrong with values each of which is allowed."""
        yield from ()

    @model_validator(mode="after")
    def _has_no_contradictions(self) -> Self:
        if (found := next(self.contradictions(), None)) is not None:
            raise ValueError(found)
        return self


def _section(**kinds: object) -> type[Section]:
    """A section without rules of its own."""
    return create_model("Section", __base__=Section, **{name: (kind, ...) for name, kind in kinds.items()})


def _alike(kind: object, names: str) -> type[Section]:
    return _section(**dict.fromkeys(names.split(), kind))


VoiceCounts = _alike(Count, "paired unlabelled validation test")


def _there_are_enough(voices: VoiceCounts) -> VoiceCounts:
    n_voices = sum(voices.model_dump().values())
    if n_voices > N_VARIANTS:
        raise ValueError(f"{n_voices} voices; expected at most {N_VARIANTS} in all splits together")
    return voices


class SyntheticParams(Section):
    languages: SomeOf[str]
    unseen_languages: SomeOf[str]
    voices: Annotated[VoiceCounts, AfterValidator(_there_are_enough)]
    hours: _alike(PositiveFloat, "paired unlabelled validation test")
    rate_wpm: Range[Annotated[float, Field(ge=80, le=450)]]  # what espeak-ng speaks
    pitch: Range[Percent]
    pitch_range: Range[Percent]

    def contradictions(self) -> Iterator[str]:
        for language in sorted(set(self.languages) & set(self.unseen_languages)):
            yield f"unseen_languages: {language!r} is in languages too; expected languages that are not"


class PrepareParams(Section):
    synthetic: SyntheticParams
    corpora: tuple[dict[str, Any], ...]  # see corpora.recordings.reader_of
    articulation: PositiveFloat


class AugmentParams(Section):
    speed: Range[PositiveFloat]
    gain_db: Range[float]
    equalise: Ratio
    equaliser_db: NonNegativeFloat
    room: Ratio
    rt60_s: Annotated[float, Field(gt=0.1, le=2)]
    noise: Ratio
    snr_db: Range[float]
    telephone: Ratio
    clip: Ratio
    non_speech: Ratio
    non_speech_db: Range[float]


class OptimizerParams(Section):
    precision: Literal["float32", "bfloat16"]
    batch_size: Count
    crop_s: Annotated[float, Field(ge=0.1, le=30)]
    learning_rate: PositiveFloat
    weight_decay: NonNegativeFloat
    warmup_steps: NonNegativeInt
    clip_norm: PositiveFloat


SHARED = {"optimizer": OptimizerParams, "augment": AugmentParams}  # sections that stand once in the file, for all LEARNERS


class AlignParams(Section):
    aligner: _section(source=str, channels=Count)
    steps: Count
    rounds: NonNegativeInt
    round_steps: Count
    min_confidence: Ratio
    optimizer: OptimizerParams
    augment: AugmentParams


class EncoderParams(Section):
    source: str
    trainable: bool
    filters: Count
    width: Count
    layers: Count
    heads: Count
    feed_forward: Count

    def contradictions(self) -> Iterator[str]:
        for name, parts in (("heads", self.heads), ("position groups", POSITION_GROUPS)):
            if self.width % parts:
                yield f"width: {self.width}; expected multiples of {parts}, its {name}"


GeneratorParams = _section(channels=Count, lstm=Count, latent=Count, n_free_directions=NonNegativeInt)


class TeachParams(Section):
    encoder: EncoderParams
    generator: GeneratorParams
    losses: _alike(NonNegativeFloat, "mesh rig velocity lip_gap closure phones kl")
    steps: Count
    optimizer: OptimizerParams
    augment: AugmentParams


LabelParams = _section(
    splits=tuple[Split, ...], keep_paired=bool, shard_utterances=Count, chunk_s=Annotated[float, Field(ge=2, le=60)]
)


def _fills(window_ms: int) -> int:
    if window_ms not in WINDOWS_MS:
        raise ValueError(f"expected {', '.join(map(str, WINDOWS_MS))}, which dilations of 1, 2, 4, ... fill")
    return window_ms


class StudentParams(Section):
    channels: Count
    window_ms: Annotated[int, AfterValidator(_fills)]
    future_ms: NonNegativeInt
    start: str | None
    steps: Count

    def contradictions(self) -> Iterator[str]:
        if self.future_ms > self.window_ms:
            yield f"future_ms: {self.future_ms}; expected at most window_ms, {self.window_ms}"

    @property
    def past_ms(self) -> int:
        """What a student sees before the frame it animates."""
        return self.window_ms - self.future_ms

    @property
    def dilations(self) -> tuple[int, ...]:
        """Of its blocks: 1, 2, 4, ..., until they see the whole window."""
        return tuple(2**block for block in range((self.window_ms // STEP_MS).bit_length() - 1))


def _starts_fit(students: dict[str, StudentParams]) -> dict[str, StudentParams]:
    if FEATURE_TEACHER not in students:
        raise ValueError(f"no student {FEATURE_TEACHER!r}, which guides the others")
    for name, student in students.items():
        network = student.channels, student.window_ms, None
        fitting = [key for key, one in students.items() if key != name and (one.channels, one.window_ms, one.start) == network]
        if student.start is not None and student.start not in fitting:
            allowed = f"{', '.join(['null', *fitting])} (as many channels, as long a window, no start of its own)"
            raise ValueError(f"{name}.start: {student.start!r}; expected {allowed}")
    return students


class DataParams(Section):
    labels: Literal["teacher", "paired"]
    sources: Literal["all", "synthetic", "recordings"]
    hours_ratio: Annotated[float, Field(gt=0, le=1)]
    voices: Count | None
    languages: Count | None


class DistillParams(Section):
    filters: Count
    level_keep_ratio: Ratio
    data: DataParams
    students: Annotated[dict[Name, StudentParams], AfterValidator(_starts_fit)]
    losses: _alike(NonNegativeFloat, "reconstruction velocity lip_vertex lip_gap closure phones feature consistency")
    feature_layers: Annotated[int, Field(ge=1, le=2)]
    closed_weight: Annotated[float, Field(ge=1)]
    optimizer: OptimizerParams
    augment: AugmentParams


class Variant(Section):
    """A named delta; more than one key needs a reason."""

    set: Changes
    why: str | None = None

    def contradictions(self) -> Iterator[str]:
        if len(self.set) > 1 and not self.why:
            yield f"why: missing; expected a variant of {len(self.set)} keys says why it is not one"


class AblateParams(Section):
    student: StudentParams
    seeds: SomeOf[NonNegativeInt]
    variants: dict[Name, Variant]

    def contradictions(self) -> Iterator[str]:
        if self.student.start is not None:
            yield f"student.start: {self.student.start!r}; expected null, since variants do not depend on students"
        if BASELINE not in self.variants or self.variants[BASELINE].set:
            yield f"variants.{BASELINE}: missing or not empty; expected `set: {{}}`, what all others differ from"
        if len(set(self.seeds)) < len(self.seeds):
            yield f"seeds: {list(self.seeds)}; expected each once"


class InternalTeacher(Section):
    """The teacher of `teach` with other values at some of its keys."""

    kind: Literal["ours"]
    splits: SomeOf[Split]
    set: Changes
    components: Count | None


class ExternalLabels(Section):
    """Anybody's teacher, by a folder of recordings and one of label files of the same names, which may be the same."""

    kind: Literal["outside"]
    audio: str
    labels: str
    fps: Annotated[float, Field(ge=1, le=240)] | None
    components: Count
    held_out: SomeOf[str]

    def is_held_out(self, name: str) -> bool:
        """Whether a recording is one to measure on."""
        return any(fnmatchcase(name, pattern) for pattern in self.held_out)


EvaluateParams = _section(
    bootstrap=Count, ensemble=tuple[float, float, float], max_utterances=Count, baselines=tuple[str, ...], smoothed=str
)
Tolerances = _alike(PositiveFloat, "float32 float16 int8")


class Params(Section):
    """All of params.yaml, with whole sections `optimizer` and `augment` in every stage that trains."""

    seed: NonNegativeInt
    prepare: PrepareParams
    align: AlignParams
    teach: TeachParams
    label: LabelParams
    distill: DistillParams
    ablate: AblateParams
    teachers: dict[Name, Annotated[InternalTeacher | ExternalLabels, Field(discriminator="kind")]]
    evaluate: EvaluateParams
    export: _section(calibration_utterances=Count, test_utterances=Count, tolerances=Tolerances)
    notebooks: dict[str, dict[str, bool | int | float | str]]

    def contradictions(self) -> Iterator[str]:
        variants = self.ablate.variants.keys() - {BASELINE}
        asked = [("smoothed", self.evaluate.smoothed, self.distill.students)]
        for key, name, allowed in asked + [("baselines", name, variants) for name in self.evaluate.baselines]:
            if name not in allowed:
                yield f"evaluate.{key}: {name!r}; expected {', '.join(sorted(allowed))}"


# What stands in the file, as far as it is not told from `Params`.
ParamsFile = _section(**dict.fromkeys(Params.model_fields, Any), **SHARED)
