"""Stage `distill`: students from pseudo-labels. Stage 1 trains `small`; stage 2 trains the others under its guidance too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.imports import import_closure
from facedistill.core.manifest import Utterance, read_manifest, select
from facedistill.core.params import Params, changed
from facedistill.core.paths import DATA
from facedistill.core.sections import FEATURE_TEACHER, DistillParams, StudentParams
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.arkit import CURVES
from facedistill.face.controls import read_controls
from facedistill.models.dataset import N_PHONE_CLASSES, Corpus, batch
from facedistill.models.filterbank import GRID_FPS, HOP_SAMPLES
from facedistill.models.losses import (
    closed_reconstruction,
    closure,
    consistency,
    feature,
    lip_gap,
    lips,
    phones,
    reconstruction,
    velocity,
)
from facedistill.models.selection import subsample
from facedistill.models.student import Student, StudentConfig, load_student, n_parameters, save_student
from facedistill.models.training import Run, prepare_torch, remove_checkpoints, work_folder, write_log
from facedistill.models.workers import device

GUIDED_FRAMES = 63  # a second of every crop: a wide guide costs more than its narrow student does


class StudentWithAuxHeads(nn.Module):
    """A student in training, with what it does not keep: a phone head, and projections where its guide is wider."""

    def __init__(self, student: Student, guide: Student | None, n_layers: int) -> None:
        super().__init__()
        self.student = student
        self.phones = nn.Conv1d(student.config.channels, N_PHONE_CLASSES, 1)
        widths = (student.config.channels, guide.config.channels if guide else student.config.channels)
        self.projections = nn.ModuleList(
            nn.Conv1d(*widths, 1) if widths[0] != widths[1] else nn.Identity() for _ in range(n_layers if guide else 0)
        )


class StudentLoss:
    """Draws a batch and scores a student on it, and its deepest features against the guide's for the same frames."""

    def __init__(self, config: StudentConfig, guide: Student | None, corpus: Corpus, params: DistillParams) -> None:
        self.guide, self.corpus, self.params = guide, corpus, params
        self.scale = corpus.curve_scale().to(device())
        self.frames = round(params.optimizer.crop_s * GRID_FPS)
        configs = [config] + ([guide.config] if guide else [])
        self.past = max(config.past_samples for config in configs)
        future = max(config.window_samples - config.past_samples for config in configs)
        self.n_samples = self.past + future + HOP_SAMPLES * (self.frames - 1)
        self.times_s = (self.past + HOP_SAMPLES * np.arange(self.frames)) / SAMPLE_RATE_HZ

    def __call__(self, guided: StudentWithAuxHeads, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        views = 2 if self.params.losses.consistency > 0 else 1
        audio, target, classes = batch(
            self.corpus, size=n_crops, views=views, n_samples=self.n_samples, times_s=self.times_s, params=self.params.augment,
            rng=rng,
        )  # fmt: skip
        audio, target, classes = audio.to(device()), target.to(device()), classes.to(device())
        student = guided.student
        features = student.features(self._window(audio, student.config, self.frames))
        pred = student.curves(features[-1])
        terms = self._of_curves(pred, target)
        terms["phones"] = phones(scores=guided.phones(features[-1]).transpose(1, 2), classes=classes)
        if views == 2:
            terms["consistency"] = consistency(pred=pred, scale=self.scale)
        if self.guide is not None:
            n_guided = min(GUIDED_FRAMES, self.frames)
            with torch.no_grad():
                wanted = self.guide.features(self._window(audio, self.guide.config, n_guided))[-self.params.feature_layers :]
            deepest = [x[:, :, :n_guided] for x in features[-self.params.feature_layers :]]
            projected = [project(x) for project, x in zip(guided.projections, deepest, strict=True)]
            terms["feature"] = feature(pred=projected, target=wanted)
        weights = self.params.losses.model_dump()
        return terms | {"total": sum(weights[name] * value for name, value in terms.items())}

    def _of_curves(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms of (B, T, K) curves; those of the lips, where the controls tell where they are."""
        controls, spread = self.corpus.controls, {"pred": pred, "target": target, "scale": self.scale}
        terms = {"reconstruction": reconstruction(**spread), "velocity": velocity(**spread)}
        if controls.lips is None:
            return terms
        if self.params.closed_weight > 1:
            weight = self.params.closed_weight
            terms["reconstruction"] = closed_reconstruction(**spread, controls=controls, weight=weight)
        on_face = {"pred": pred, "target": target, "controls": controls}
        return terms | {"lips": lips(**on_face), "lip_gap": lip_gap(**on_face), "closure": closure(**on_face)}

    def _window(self, audio: Tensor, config: StudentConfig, n_frames: int) -> Tensor:
        """The part of (B, S) audio that a network needs for the batch's first frames."""
        first = self.past - config.past_samples
        return audio[:, first : first + config.window_samples + HOP_SAMPLES * (n_frames - 1)]


def student_config(params: DistillParams, student: StudentParams, curves: tuple[str, ...] = CURVES) -> StudentConfig:
    """The network of a student that gives these curves."""
    return StudentConfig(
        channels=student.channels, past_ms=student.past_ms, future_ms=student.future_ms, dilations=student.dilations,
        filters=params.filters, level_ratio=params.level_ratio, curves=curves,
    )  # fmt: skip


def training_data(params: Params) -> tuple[Path, list[Utterance]]:
    """The folder of the manifest that `distill.data` names, and the utterances that it chooses of it."""
    data = params.distill.data
    folder = DATA / ("label" if data.labels == "teacher" else "align")
    rows = read_manifest(folder / "manifest.jsonl")
    return folder, subsample(rows if data.labels == "teacher" else select(rows, "paired"), data, params.seed)


def train_student(params: Params, student: StudentParams, out: Path, *, folder: Path, rows: Sequence[Utterance]) -> Path:
    """Trains one student and writes `out`, below data: model.safetensors, config.json, losses.csv and summary.json.

    Args:
        folder: what the paths in `rows` are relative to, with the controls that the curves are of.
        rows: utterances with curves.

    Returns:
        The resumable state, for the caller to forget once nothing needs to be trained again.
    """
    prepare_torch()
    corpus = Corpus(folder, rows, controls=read_controls(folder))
    settings, config = params.distill, student_config(params.distill, student, corpus.controls.names)
    guide = (
        load_student(DATA / "distill" / FEATURE_TEACHER).requires_grad_(False).to(device())
        if settings.losses.feature > 0
        else None
    )
    torch.manual_seed(params.seed)
    guided = StudentWithAuxHeads(Student(config), guide, settings.feature_layers).to(device())
    if not corpus.controls.are_arkit:
        guided.student.scale_output_init(corpus.curve_scale())
    if student.start is not None:
        guided.student.load_state_dict(load_student(DATA / "distill" / student.start).state_dict())
    others = [FEATURE_TEACHER] * (guide is not None) + [student.start] * (student.start is not None)
    inputs = [folder / "manifest.jsonl", *sorted({folder / row.curves for row in rows})]
    inputs += [DATA / "distill" / other / "model.safetensors" for other in others]
    name = "-".join(out.relative_to(DATA).parts)
    run = Run(
        name=name, module=guided, optimizer=settings.optimizer, steps=student.steps, seed=params.seed,
        loss=StudentLoss(config, guide, corpus, settings),
        work=work_folder(
            name, code=import_closure(__name__), settings=f"{params.seed}{student}{settings.model_dump_json()}", inputs=inputs
        ),
        audio_s_per_step=settings.optimizer.batch_size * settings.optimizer.crop_s,
    )  # fmt: skip
    write_log(out / "losses.csv", run.fit())
    save_student(guided.student, out)
    load_student(out, config.curves).animate(np.zeros(SAMPLE_RATE_HZ, np.float32))  # a saved student that loads and runs
    write_json(out / "summary.json", {"parameters": n_parameters(guided.student)} | _amount(rows))
    return run.work


def distill(params: Params, name: str) -> None:
    """Stage 1 for `small`, which has no guide, and stage 2 for every other student of `distill.students`.

    Raises:
        InputError: unknown name.
    """
    students = params.distill.students
    if name not in students:
        raise InputError(f"distill.students: no student {name!r}; allowed: {', '.join(students)}")
    if name == FEATURE_TEACHER:
        params = changed(params, {"distill.losses.feature": 0.0})
    folder, rows = training_data(params)
    remove_checkpoints(train_student(params, students[name], DATA / "distill" / name, folder=folder, rows=rows))


def _amount(rows: Sequence[Utterance]) -> dict[str, float | int]:
    """How much a student learns from."""
    return {
        "hours": round(sum(row.duration_s for row in rows) / 3600, 4),
        "voices": len({(row.source, row.speaker) for row in rows}),
        "languages": len({row.language for row in rows}),
    }
