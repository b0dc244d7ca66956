"""Stage `distill`: students from pseudo-labels. Stage 1 trains `small`; stage 2 trains the others on its features too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import write_json
from facedistill.core.imports import import_closure
from facedistill.core.manifest import Utterance, hours, read_manifest, select
from facedistill.core.params import Params, with_overrides
from facedistill.core.paths import DATA
from facedistill.core.sections import FEATURE_TEACHER, DistillParams, StudentParams
from facedistill.models import losses
from facedistill.models.dataset import N_PHONE_CLASSES, Corpus, batch, subsample
from facedistill.models.filterbank import GRID_FPS, HOP_SAMPLES
from facedistill.models.networks import device, n_parameters
from facedistill.models.student import Student, StudentConfig, load_student, save_student
from facedistill.models.training import Run, prepare_torch, remove_checkpoints, work_folder, write_log
from facedistill.rig.arkit import CURVES
from facedistill.rig.controls import read_controls

FEATURE_FRAMES = 63  # a second of every crop: a wide feature teacher costs more than its narrow student does


class StudentWithAuxHeads(nn.Module):
    """A student in training, with what it does not keep: a phone head, and projections where its feature teacher is wider."""

    def __init__(self, student: Student, feature_teacher: Student | None, n_layers: int) -> None:
        super().__init__()
        width, wanted = student.config.channels, (feature_teacher or student).config.channels
        self.student = student
        self.phones = nn.Conv1d(width, N_PHONE_CLASSES, 1)
        layers = range(n_layers if feature_teacher else 0)
        self.projections = nn.ModuleList(nn.Identity() if width == wanted else nn.Conv1d(width, wanted, 1) for _ in layers)


class StudentLoss:
    """Draws a batch and scores a student on it, and its deepest features against the feature teacher's for the same frames."""

    def __init__(self, config: StudentConfig, feature_teacher: Student | None, corpus: Corpus, params: DistillParams) -> None:
        self.feature_teacher, self.corpus, self.params = feature_teacher, corpus, params
        self.scale = corpus.curve_scale().to(device())
        self.frames = round(params.optimizer.crop_s * GRID_FPS)
        configs = [config, *([feature_teacher.config] if feature_teacher else [])]
        self.past = max(one.past_samples for one in configs)
        future = max(one.window_samples - one.past_samples for one in configs)
        self.n_samples = self.past + future + HOP_SAMPLES * (self.frames - 1)
        self.times_s = (self.past + HOP_SAMPLES * np.arange(self.frames)) / SAMPLE_RATE_HZ

    def __call__(self, module: StudentWithAuxHeads, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        params, student, teacher = self.params, module.student, self.feature_teacher
        crops = {"size": n_crops, "n_samples": self.n_samples, "times_s": self.times_s, "params": params.augment, "rng": rng}
        drawn = batch(self.corpus, **crops, views=2 if params.losses.consistency > 0 else 1)
        audio, target, classes = (part.to(device()) for part in drawn)
        features = student.features(self._window(audio, student.config, self.frames))
        pred = student.curves(features[-1])
        terms = self._of_curves(pred, target)
        terms["phones"] = losses.phones(scores=module.phones(features[-1]).transpose(1, 2), classes=classes)
        if params.losses.consistency > 0:
            terms["consistency"] = losses.consistency(pred=pred, scale=self.scale)
        if teacher is not None:
            n_frames = min(FEATURE_FRAMES, self.frames)
            with torch.no_grad():
                wanted = teacher.features(self._window(audio, teacher.config, n_frames))[-params.feature_layers :]
            deepest = zip(module.projections, features[-params.feature_layers :], strict=True)
            terms["feature"] = losses.feature(pred=[project(x[:, :, :n_frames]) for project, x in deepest], target=wanted)
        weights = params.losses.model_dump()
        return terms | {"total": sum(weights[name] * value for name, value in terms.items())}

    def _of_curves(self, pred: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The terms of (B, T, K) curves; those of the lips, where the controls tell where they are."""
        spread = {"pred": pred, "target": target, "scale": self.scale}
        on_face = {"pred": pred, "target": target, "controls": self.corpus.controls}
        terms = {"reconstruction": losses.reconstruction(**spread), "velocity": losses.velocity(**spread)}
        if self.corpus.controls.lips is None:
            return terms
        if self.params.closed_weight > 1:
            terms["reconstruction"] = losses.closed_reconstruction(**spread | on_face, weight=self.params.closed_weight)
        of_lips = {"lip_vertex": losses.lip_vertex_loss, "lip_gap": losses.lip_gap, "closure": losses.closure}
        return terms | {name: loss(**on_face) for name, loss in of_lips.items()}

    def _window(self, audio: Tensor, config: StudentConfig, n_frames: int) -> Tensor:
        """The part of (B, S) audio that a network needs for the batch's first frames."""
        first = self.past - config.past_samples
        return audio[:, first : first + config.window_samples + HOP_SAMPLES * (n_frames - 1)]


def student_config(params: DistillParams, student: StudentParams, curves: tuple[str, ...] = CURVES) -> StudentConfig:
    """What the parameters say of a student."""
    return StudentConfig(
        channels=student.channels, past_ms=student.past_ms, future_ms=student.future_ms, dilations=student.dilations,
        filters=params.filters, level_keep_ratio=params.level_keep_ratio, curves=curves,
    )  # fmt: skip


def training_data(params: Params) -> tuple[Path, list[Utterance]]:
    """The folder of the manifest that `distill.data` names, and the utterances that it chooses of it."""
    data = params.distill.data
    folder, splits = (DATA / "label", ()) if data.labels == "teacher" else (DATA / "align", ("paired",))
    rows = read_manifest(folder / "manifest.jsonl")
    return folder, subsample(select(rows, *splits) if splits else rows, data, params.seed)


def train_student(params: Params, student: StudentParams, out: Path, folder: Path, rows: Sequence[Utterance]) -> Path:
    """Trains a student on `rows` of `folder` into `out`, below data; returns resumable state to be removed later."""
    prepare_torch()
    corpus, settings = Corpus(folder, rows, controls=read_controls(folder)), params.distill
    config = student_config(settings, student, corpus.controls.names)
    feature_teacher, inputs = None, corpus.files
    if settings.losses.feature > 0:
        feature_teacher = load_student(DATA / "distill" / FEATURE_TEACHER).requires_grad_(False).to(device())
        inputs.append(DATA / "distill" / FEATURE_TEACHER / "model.safetensors")
    torch.manual_seed(params.seed)
    module = StudentWithAuxHeads(Student(config), feature_teacher, settings.feature_layers).to(device())
    if not corpus.controls.are_arkit:
        module.student.scale_output_init(corpus.curve_scale())
    if student.start is not None:
        module.student.load_state_dict(load_student(DATA / "distill" / student.start).state_dict())
        inputs.append(DATA / "distill" / student.start / "model.safetensors")
    name = "-".join(out.relative_to(DATA).parts)
    key = f"{params.seed}{student}{settings.model_dump_json()}"
    run = Run(
        name=name, module=module, loss=StudentLoss(config, feature_teacher, corpus, settings), optimizer=settings.optimizer,
        steps=student.steps, seed=params.seed, work=work_folder(name, code=import_closure(__name__), settings=key, inputs=inputs),
    )  # fmt: skip
    write_log(out / "losses.csv", run.fit())
    save_student(module.student, out)
    load_student(out, config.curves).animate(np.zeros(SAMPLE_RATE_HZ, np.float32))  # a saved student that loads and runs
    learnt_from = {
        "hours": round(hours(rows), 4),
        "voices": len({(row.source, row.speaker) for row in rows}),
        "languages": len({row.language for row in rows}),
    }
    write_json(out / "summary.json", {"parameters": n_parameters(module.student)} | learnt_from)
    return run.work


def distill(params: Params, name: str) -> None:
    """Trains a student of `distill.students` into data/distill: model.safetensors, config.json, losses.csv and summary.json."""
    students = params.distill.students
    if name not in students:
        raise InputError(f"distill.students: no student {name!r}; expected {', '.join(students)}")
    if name == FEATURE_TEACHER:
        params = with_overrides(params, {"distill.losses.feature": 0.0})
    remove_checkpoints(train_student(params, students[name], DATA / "distill" / name, *training_data(params)))
