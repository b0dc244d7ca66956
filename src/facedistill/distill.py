"""Stage `distill`: students from pseudo-labels. Stage 1 trains `small`; stage 2 trains the others under its guidance too."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.manifest import read_manifest
from facedistill.core.params import GUIDE, DistillParams, Params, StudentLosses
from facedistill.core.paths import DATA
from facedistill.models.dataset import N_PHONE_CLASSES, Corpus, batch
from facedistill.models.filterbank import GRID_FPS, HOP_SAMPLES
from facedistill.models.losses import closure, consistency, feature, lip_gap, phones, reconstruction, velocity
from facedistill.models.student import Student, StudentConfig, load_student, n_parameters, save_student
from facedistill.models.training import Run, prepare_torch, work_folder, write_log
from facedistill.models.workers import device
from facedistill.speech.audio import SAMPLE_RATE_HZ

GUIDED_FRAMES = 63  # a second of every crop: a wide guide costs more than its narrow student does
GUIDED_LAYERS = 2  # the deepest layers, which stand on the output grid: the last block and the hidden layer


class Guided(nn.Module):
    """A student in training, with what it does not keep: a phone head, and projections where its guide is wider."""

    def __init__(self, student: Student, guide: Student | None) -> None:
        super().__init__()
        self.student = student
        self.phones = nn.Conv1d(student.config.channels, N_PHONE_CLASSES, 1)
        widths = (student.config.channels, guide.config.channels if guide else student.config.channels)
        self.projections = nn.ModuleList(
            nn.Conv1d(*widths, 1) if widths[0] != widths[1] else nn.Identity() for _ in range(GUIDED_LAYERS if guide else 0)
        )


class StudentLoss:
    """Draws a batch and scores a student on it, and its deepest features against the guide's for the same frames."""

    def __init__(
        self, config: StudentConfig, guide: Student | None, corpus: Corpus, params: DistillParams, losses: StudentLosses
    ) -> None:
        self.guide, self.corpus, self.params, self.losses = guide, corpus, params, losses
        self.scale = corpus.curve_scale().to(device())
        self.frames = round(params.optimizer.crop_s * GRID_FPS)
        configs = [config] + ([guide.config] if guide else [])
        self.past = max(config.past_samples for config in configs)
        future = max(config.window_samples - config.past_samples for config in configs)
        self.n_samples = self.past + future + HOP_SAMPLES * (self.frames - 1)
        self.times_s = (self.past + HOP_SAMPLES * np.arange(self.frames)) / SAMPLE_RATE_HZ

    def __call__(self, guided: Guided, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        views = 2 if self.losses.consistency > 0 else 1
        audio, target, classes = batch(
            self.corpus, size=n_crops, views=views, n_samples=self.n_samples, times_s=self.times_s, params=self.params.augment,
            rng=rng,
        )  # fmt: skip
        audio, target, classes = audio.to(device()), target.to(device()), classes.to(device())
        student = guided.student
        features = student.features(self._window(audio, student.config, self.frames))
        pred = student.curves(features[-1])
        terms = {
            "reconstruction": reconstruction(pred=pred, target=target, scale=self.scale),
            "velocity": velocity(pred=pred, target=target, scale=self.scale),
            "lip_gap": lip_gap(pred=pred, target=target),
            "closure": closure(pred=pred, target=target),
            "phones": phones(scores=guided.phones(features[-1]).transpose(1, 2), classes=classes),
        }
        if views == 2:
            terms["consistency"] = consistency(pred=pred, scale=self.scale)
        if self.guide is not None:
            n_guided = min(GUIDED_FRAMES, self.frames)
            with torch.no_grad():
                wanted = self.guide.features(self._window(audio, self.guide.config, n_guided))[-GUIDED_LAYERS:]
            deepest = [x[:, :, :n_guided] for x in features[-GUIDED_LAYERS:]]
            projected = [project(x) for project, x in zip(guided.projections, deepest, strict=True)]
            terms["feature"] = feature(pred=projected, target=wanted)
        weights = self.losses.model_dump()
        return terms | {"total": sum(weights[name] * value for name, value in terms.items())}

    def _window(self, audio: Tensor, config: StudentConfig, n_frames: int) -> Tensor:
        """The part of (B, S) audio that a network needs for the batch's first frames."""
        first = self.past - config.past_samples
        return audio[:, first : first + config.window_samples + HOP_SAMPLES * (n_frames - 1)]


@dataclass(frozen=True)
class Recipe:
    """What one student is trained on."""

    stage: str
    name: str
    student: str  # key of distill.students
    corpus: Path  # folder of the manifest with curves
    split: str | None  # of that manifest; None for all
    losses: StudentLosses
    start: str | None  # the distilled student whose weights it starts from; None for random ones


def student_config(params: DistillParams, name: str) -> StudentConfig:
    """The network of a named student.

    Raises:
        InputError: unknown name, or a window that the dilations do not fill.
    """
    if name not in params.students:
        raise InputError(f"distill.students: no student {name!r}; allowed: {', '.join(params.students)}")
    try:
        return StudentConfig(
            **params.students[name].model_dump(exclude={"start", "steps"}),
            filters=params.filters, level_ratio=params.level_ratio, dilations=params.dilations,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"distill.students.{name}: {error}") from None


def train_student(params: Params, recipe: Recipe) -> None:
    """Trains one student and writes data/STAGE/NAME: model.safetensors, config.json, losses.csv and summary.json."""
    config = student_config(params.distill, recipe.student)
    prepare_torch()
    out = DATA / recipe.stage / recipe.name
    rows = [row for row in read_manifest(recipe.corpus / "manifest.jsonl") if recipe.split in (None, row.split)]
    corpus = Corpus(recipe.corpus, rows)
    guide = load_student(DATA / "distill" / GUIDE).requires_grad_(False).to(device()) if recipe.losses.feature > 0 else None
    torch.manual_seed(params.seed)
    guided = Guided(Student(config), guide).to(device())
    if recipe.start is not None:
        guided.student.load_state_dict(load_student(DATA / "distill" / recipe.start).state_dict())
    students = [GUIDE] * (guide is not None) + [recipe.start] * (recipe.start is not None)
    inputs = [recipe.corpus / "manifest.jsonl", *sorted({recipe.corpus / row.curves for row in rows})]
    inputs += [DATA / "distill" / name / "model.safetensors" for name in students]
    settings = f"{params.seed}{recipe}{params.distill.model_dump_json()}"
    run = Run(
        name=f"{recipe.stage} {recipe.name}", module=guided, optimizer=params.distill.optimizer,
        steps=params.distill.students[recipe.student].steps, seed=params.seed,
        loss=StudentLoss(config, guide, corpus, params.distill, recipe.losses),
        work=work_folder(f"{recipe.stage}-{recipe.name}", settings=settings, inputs=inputs),
        audio_s_per_step=params.distill.optimizer.batch_size * params.distill.optimizer.crop_s,
    )  # fmt: skip
    write_log(out / "losses.csv", run.fit())
    save_student(guided.student, out)
    load_student(out).animate(np.zeros(SAMPLE_RATE_HZ, np.float32))  # a saved student that loads and runs
    write_json(out / "summary.json", {"parameters": n_parameters(guided.student)})
    run.finish()


def distill(params: Params, name: str) -> None:
    """Stage 1 for `small`, stage 2 for every other student of `distill.students`."""
    losses = params.distill.losses if name != GUIDE else params.distill.losses.model_copy(update={"feature": 0.0})
    student_config(params.distill, name)  # an unknown name is refused before its start is asked for
    train_student(params, Recipe("distill", name, name, DATA / "label", None, losses, params.distill.students[name].start))
