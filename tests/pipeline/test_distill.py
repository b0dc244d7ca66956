import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from facedistill.core.errors import InputError
from facedistill.core.manifest import read_manifest, write_manifest
from facedistill.core.sections import Variant
from facedistill.models.dataset import UNKNOWN, Corpus
from facedistill.models.filterbank import HOP_SAMPLES
from facedistill.models.networks import CPU_WORKERS, n_parameters
from facedistill.models.student import Student, StudentConfig, load_student
from facedistill.pipeline import distill as stage
from facedistill.pipeline.ablate import ablate
from facedistill.pipeline.distill import StudentLoss, StudentWithAuxHeads, distill, student_config


@pytest.fixture
def data(corpus_folder, monkeypatch, tmp_path):
    """data/ with pseudo-labels of all utterances of the corpus, made by no teacher."""
    folder, label = corpus_folder.parent, corpus_folder.parent / "label"
    monkeypatch.setattr(stage, "DATA", folder)
    monkeypatch.setattr("facedistill.pipeline.ablate.DATA", folder)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    (label / "curves").mkdir(parents=True)
    shutil.copy(corpus_folder / "curves" / "s.npz", label / "curves" / "label.npz")
    rows = read_manifest(corpus_folder / "manifest.jsonl")
    write_manifest(
        label / "manifest.jsonl", [replace(row, audio=f"../prepare/{row.audio}", curves="curves/label.npz") for row in rows]
    )
    return folder


def weights(data, name: str) -> bytes:
    return (data / "distill" / name / "model.safetensors").read_bytes()


def with_weights(params, **weights: float):
    losses = params.distill.losses.model_copy(update=weights)
    return params.model_copy(update={"distill": params.distill.model_copy(update={"losses": losses})})


def test_stage_1_then_stage_2(smoke_params, data, monkeypatch):
    feature_teachers = []

    class Spy(StudentLoss):
        def __init__(self, config, feature_teacher, *rest) -> None:
            feature_teachers.append(feature_teacher)
            super().__init__(config, feature_teacher, *rest)

    monkeypatch.setattr(stage, "StudentLoss", Spy)
    for name in ("small", "real-time"):
        distill(smoke_params, name)
        student = load_student(data / "distill" / name)
        assert student.config == student_config(smoke_params.distill, smoke_params.distill.students[name])
        summary = (data / "distill" / name / "summary.json").read_text()
        assert f'"parameters": {n_parameters(student)},\n' in summary
        log = pd.read_csv(data / "distill" / name / "losses.csv")
        assert ("feature" in log) == (name != "small")
        assert np.isfinite(log.to_numpy()).all()
    assert feature_teachers[0] is None  # stage 1 has no one to follow
    saved = load_student(data / "distill" / "small").state_dict()
    assert all(torch.equal(saved[key].cpu(), value.cpu()) for key, value in feature_teachers[1].state_dict().items())
    assert not any(parameter.requires_grad for parameter in feature_teachers[1].parameters())


@pytest.mark.parametrize("channels, n_projections", [(16, 0), (8, 2)])
def test_projections_only_where_widths_differ(channels, n_projections):
    student = Student(StudentConfig(channels=channels, past_ms=448, future_ms=64, filters=16))
    feature_teacher = Student(StudentConfig(channels=16, past_ms=256, future_ms=256, filters=16))
    projections = StudentWithAuxHeads(student, feature_teacher, 2).projections
    assert len(projections) == 2
    assert sum(isinstance(projection, nn.Conv1d) for projection in projections) == n_projections
    assert [projection(torch.zeros(1, channels, 5)).shape for projection in projections] == [(1, 16, 5)] * 2
    assert len(StudentWithAuxHeads(student, feature_teacher, 1).projections) == 1
    assert len(StudentWithAuxHeads(student, None, 2).projections) == 0


def test_without_a_feature_loss_no_guide_is_needed(smoke_params, data):
    with pytest.raises(InputError, match="small"):
        distill(smoke_params, "on-device")
    distill(with_weights(smoke_params, feature=0.0), "on-device")
    assert "feature" not in pd.read_csv(data / "distill" / "on-device" / "losses.csv")
    ablate(smoke_params, "paired-only")
    assert load_student(data / "ablate" / "paired-only" / "seed-1").config.channels == 8


def test_two_degradations_of_a_crop_are_compared_where_consistency_counts(smoke_params, data):
    distill(with_weights(smoke_params, consistency=1.0), "small")
    log = pd.read_csv(data / "distill" / "small" / "losses.csv")
    weights = smoke_params.distill.losses.model_dump() | {"feature": 0.0, "consistency": 1.0}
    assert (log["consistency"] > 0).all()
    np.testing.assert_allclose(log["total"], sum(weights[name] * log[name] for name in log if name in weights), rtol=1e-4)


class Ear(nn.Module):
    """In place of a student: a frame's features and curves are the audio sample at the time where the frame stands."""

    def __init__(self, past_ms: int, future_ms: int) -> None:
        super().__init__()
        self.config = StudentConfig(channels=1, past_ms=past_ms, future_ms=future_ms)

    def features(self, audio: torch.Tensor) -> list[torch.Tensor]:
        frames = audio.unfold(1, self.config.window_samples, HOP_SAMPLES)[:, :, self.config.past_samples]
        return [frames[:, None]] * 2

    def curves(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.transpose(1, 2).expand(-1, -1, 52)


@pytest.mark.parametrize("windows", [((256, 256), (448, 64)), ((448, 64), (256, 256)), ((64, 448), (448, 64))])
def test_student_guide_and_labels_stand_on_the_same_frames(smoke_params, corpus_folder, monkeypatch, windows):
    def labels_are_the_audio(corpus, *, size, n_samples, times_s, params, rng, views):
        audio = torch.from_numpy(rng.standard_normal((size, n_samples)).astype(np.float32))
        target = audio[:, torch.from_numpy(np.round(times_s * 16_000).astype(int)), None].expand(-1, -1, 52)
        return audio, target, torch.full(target.shape[:2], UNKNOWN)

    monkeypatch.setattr(stage, "batch", labels_are_the_audio)
    student, feature_teacher = (Ear(*window) for window in windows)
    corpus = Corpus(corpus_folder, read_manifest(corpus_folder / "manifest.jsonl")[:3])
    loss = StudentLoss(student.config, feature_teacher, corpus, smoke_params.distill)
    terms = loss(StudentWithAuxHeads(student, feature_teacher, 2), 2, np.random.default_rng(0))
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(dict.fromkeys(terms, 0.0), abs=1e-9)


def test_a_student_starts_from_the_weights_that_its_parameters_name(smoke_params, data):
    still = smoke_params.distill.optimizer.model_copy(update={"learning_rate": 1e-12})
    params = smoke_params.model_copy(update={"distill": smoke_params.distill.model_copy(update={"optimizer": still})})
    for name in ("small", "on-device", "real-time", "tiny-real-time"):
        distill(params, name)
    inner = {name: load_student(data / "distill" / name).blocks[1].conv.weight for name in smoke_params.distill.students}
    torch.testing.assert_close(inner["real-time"], inner["small"])
    torch.testing.assert_close(inner["tiny-real-time"], inner["on-device"])


def test_a_variant_is_trained_once_a_seed_with_its_own_parameters(smoke_params, data, monkeypatch):
    variants = smoke_params.ablate.variants | {"odd": Variant(set={"distill.losses.velocity": 0.0})}
    params = smoke_params.model_copy(update={"ablate": smoke_params.ablate.model_copy(update={"variants": variants})})
    seen = []

    def train(*given):
        seen.append(given)
        return data / "nothing"

    monkeypatch.setattr("facedistill.pipeline.ablate.train_student", train)
    for name in ("odd", "channels-4", "paired-only", "labels-30pct"):
        ablate(params, name)
    assert [given[0].seed for given in seen] == [1, 2] * 4
    assert [given[2].relative_to(data).as_posix() for given in seen[:2]] == ["ablate/odd/seed-1", "ablate/odd/seed-2"]
    odd, narrow, paired, few = seen[::2]
    assert odd[0].distill.losses == params.distill.losses.model_copy(update={"velocity": 0.0})
    assert odd[1] == params.ablate.student and narrow[1] == params.ablate.student.model_copy(update={"channels": 4})
    assert paired[3] == data / "align" and {row.split for row in paired[4]} == {"paired"}
    assert few[3] == odd[3] == data / "label" and len(few[4]) < len(odd[4])


def test_a_variant_that_changes_nothing_is_trained_and_told(smoke_params, data, monkeypatch, capsys):
    monkeypatch.setattr("facedistill.pipeline.ablate.train_student", lambda *_: data / "nothing")
    variants = smoke_params.ablate.variants | {"odd": Variant(set={"distill.losses.velocity": 0.0})}
    params = smoke_params.model_copy(update={"ablate": smoke_params.ablate.model_copy(update={"variants": variants})})
    ablate(params, "baseline")
    ablate(params, "odd")
    assert capsys.readouterr().err == ""
    ablate(with_weights(params, velocity=0.0), "odd")
    assert capsys.readouterr().err == "ablate.variants.odd: the baseline once more: its values are those of params.yaml\n"


def test_a_killed_variant_goes_on_with_the_seed_it_was_at(smoke_params, data, monkeypatch):
    params = with_weights(smoke_params, feature=0.0)
    ablate(params, "baseline")
    files = [data / "ablate" / "baseline" / f"seed-{seed}" / "model.safetensors" for seed in (1, 2)]
    whole, drawn, call = [path.read_bytes() for path in files], [], StudentLoss.__call__

    def dies(self, guided, n_crops, rng):
        drawn.append(n_crops)
        if len(drawn) == kill_at:
            raise KeyboardInterrupt
        return call(self, guided, n_crops, rng)

    monkeypatch.setattr(StudentLoss, "__call__", dies)
    per_seed = 2 * params.ablate.student.steps if params.distill.optimizer.batch_size % 2 == 0 else params.ablate.student.steps
    kill_at = per_seed + 1  # the first batch of the second seed
    with pytest.raises(KeyboardInterrupt):
        ablate(params, "baseline")
    shutil.rmtree(data / "ablate")
    drawn.clear()
    kill_at = 10 * per_seed
    ablate(params, "baseline")
    assert len(drawn) == per_seed, "only the second seed is trained"
    assert [path.read_bytes() for path in files] == whole


def test_seeds_give_different_students(smoke_params, data):
    ablate(with_weights(smoke_params, feature=0.0), "baseline")
    first, second = ((data / "ablate" / "baseline" / f"seed-{seed}" / "model.safetensors").read_bytes() for seed in (1, 2))
    assert first != second


@pytest.mark.parametrize("name", ["small", "on-device"])
def test_distilling_twice_gives_the_same_bytes(smoke_params, data, name):
    distill(smoke_params, "small")
    distill(smoke_params, name)
    first = weights(data, name)
    shutil.rmtree(data / "distill" / name)
    distill(smoke_params, name)
    assert weights(data, name) == first


def test_a_killed_stage_resumes_to_the_same_bytes(smoke_params, data, monkeypatch):
    distill(smoke_params, "small")
    distill(smoke_params, "on-device")
    whole, calls, call = weights(data, "on-device"), [], StudentLoss.__call__
    log = (data / "distill" / "on-device" / "losses.csv").read_bytes()
    shutil.rmtree(data / "distill" / "on-device")

    def dies(self, *batch):
        calls.append(None)
        if len(calls) == CPU_WORKERS + 1:
            raise KeyboardInterrupt
        return call(self, *batch)

    monkeypatch.setattr("facedistill.models.training.CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(StudentLoss, "__call__", dies)
    with pytest.raises(KeyboardInterrupt):
        distill(smoke_params, "on-device")
    assert not (data / "distill" / "on-device").exists()
    before = len(calls)
    distill(smoke_params, "on-device")
    steps = smoke_params.distill.students["on-device"].steps
    assert len(calls) - before == CPU_WORKERS * (steps - 1)  # one step was not made again
    assert weights(data, "on-device") == whole
    assert (data / "distill" / "on-device" / "losses.csv").read_bytes() == log


def test_unknown_names_are_refused_before_anything_else(smoke_params, data):
    with pytest.raises(InputError, match="no student 'nope'; expected small, on-device, real-time, tiny-real-time"):
        distill(smoke_params, "nope")
    with pytest.raises(InputError, match="no variant 'nope'; expected baseline"):
        ablate(smoke_params, "nope")
