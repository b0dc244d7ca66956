"""Stage `teach`: trains the teacher on the paired split, with heavy augmentation."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.files import write_json
from facedistill.core.imports import import_closure
from facedistill.core.manifest import read_manifest
from facedistill.core.params import Params
from facedistill.core.paths import DATA, ROOT
from facedistill.core.sections import TeachParams
from facedistill.models import losses
from facedistill.models.dataset import Corpus, batch
from facedistill.models.encoder import encode_at, save_encoder
from facedistill.models.networks import device, n_parameters
from facedistill.models.teacher import Teacher, build_teacher, mesh_basis, save_teacher
from facedistill.models.training import Run, prepare_torch, remove_checkpoints, work_folder, write_log
from facedistill.rig.curves import FPS


class TeacherLoss:
    """Draws a batch and scores the teacher on it, at the prior's mean, and every other utterance at a posterior sample of z."""

    def __init__(self, corpus: Corpus, params: TeachParams) -> None:
        self.corpus, self.params = corpus, params
        self.basis = mesh_basis().to(device())
        self.scale = corpus.curve_scale().to(device())
        self.times_s = np.arange(int(params.optimizer.crop_s * FPS)) / FPS

    def __call__(self, teacher: Teacher, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        crops = {"n_samples": int(self.params.optimizer.crop_s * SAMPLE_RATE_HZ), "times_s": self.times_s}
        drawn = batch(self.corpus, size=n_crops, **crops, params=self.params.augment, rng=rng)
        audio, target, classes = (part.to(device()) for part in drawn)
        mesh_target = target @ self.basis
        mean, log_variance = teacher.posterior(mesh_target)
        noise = torch.from_numpy(rng.standard_normal(mean.shape, dtype=np.float32)).to(mean)
        z = mean + noise * (0.5 * log_variance).exp()
        z = z * (torch.arange(len(z), device=z.device) % 2)[:, None]  # every other utterance: z = 0, as in use
        features = encode_at(teacher.encoder, audio, torch.from_numpy(self.times_s).to(audio))
        mesh = teacher.generator(features, z)
        pred = teacher.mesh2rig(mesh)
        spread = {"pred": pred, "target": target, "scale": self.scale}
        on_face = {"pred": pred, "target": target, "controls": self.corpus.controls}
        terms = {
            "mesh": (mesh - mesh_target).square().mean(),
            "rig": losses.reconstruction(**spread),
            "velocity": losses.velocity(**spread),
            "lip_gap": losses.lip_gap(**on_face),
            "closure": losses.closure(**on_face),
            "phones": losses.phones(scores=teacher.phones(features), classes=classes),
            "kl": 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(),
        }
        weighted = [weight * terms[name] for name, weight in self.params.losses.model_dump().items() if weight > 0]
        return terms | {"total": sum(weighted, 0 * terms["mesh"])}  # a weight of 0 leaves alone what only that loss trains


def teach(params: Params) -> None:
    """Trains the teacher of data/align's paired split into data/teach: the networks, losses.csv and summary.json."""
    remove_checkpoints(train_teacher(params, DATA / "align", "paired", DATA / "teach"))


def train_teacher(params: Params, folder: Path, split: str | None, out: Path) -> Path:
    """Trains a teacher on a split of `folder`, or all, into `out`, below data; returns resumable state to be removed later."""
    prepare_torch()
    settings, name = params.teach, "-".join(out.relative_to(DATA).parts)
    corpus = Corpus(folder, [row for row in read_manifest(folder / "manifest.jsonl") if split in (None, row.split)])
    torch.manual_seed(params.seed)
    teacher = build_teacher(settings).to(device())
    inputs = corpus.files + sorted((ROOT / settings.encoder.source).glob("*.safetensors"))
    key = f"{params.seed}{settings.model_dump_json()}"
    run = Run(
        name=name, module=teacher, loss=TeacherLoss(corpus, settings), optimizer=settings.optimizer, steps=settings.steps,
        seed=params.seed, work=work_folder(name, code=import_closure(__name__), settings=key, inputs=inputs),
    )  # fmt: skip
    write_log(out / "losses.csv", run.fit())
    save_teacher(teacher, settings, out)
    save_encoder(teacher.encoder, out / "encoder")
    write_json(out / "summary.json", {"parameters": n_parameters(teacher), "encoder_parameters": n_parameters(teacher.encoder)})
    return run.work
