import copy

import numpy as np
import pytest
import torch
from damage import SOME_DAMAGES
from torch import nn

from facedistill.core.sections import OptimizerParams
from facedistill.models import training
from facedistill.models.networks import CPU_WORKERS, workers
from facedistill.models.training import Run, remove_checkpoints

SETTINGS = OptimizerParams(
    precision="float32", batch_size=4, crop_s=1.0, learning_rate=1e-2, weight_decay=0.01, warmup_steps=5, clip_norm=1.0
)  # fmt: skip


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Sum:
    """Learns the sum of four numbers; dies at a step where told to."""

    def __init__(self, dies_at: int | None) -> None:
        self.dies_at, self.calls = dies_at, 0

    def __call__(self, module: nn.Module, n_crops: int, rng: np.random.Generator) -> dict[str, torch.Tensor]:
        self.calls += 1
        if self.dies_at is not None and self.calls > CPU_WORKERS * self.dies_at:
            raise Killed
        x = torch.from_numpy(rng.standard_normal((4 * n_crops, 4), dtype=np.float32))
        return {"total": (module(x) - x.sum(dim=1, keepdim=True)).square().mean()}


def a_run(work, *, dies_at: int | None = None) -> Run:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    return Run(name="t", module=module, loss=Sum(dies_at), optimizer=SETTINGS, steps=30, seed=1, work=work)


def test_training_learns_and_repeats(tmp_path):
    one, two = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    log = one.fit()
    assert log[-1]["total"] < log[0]["total"]
    assert log == two.fit()
    assert all(torch.equal(a, b) for a, b in zip(one.module.state_dict().values(), two.module.state_dict().values(), strict=True))


def test_two_workers_make_the_step_of_the_whole_batch(tmp_path):
    run = a_run(tmp_path)
    run.module, run.optimizer = nn.Linear(4, 1), SETTINGS.model_copy(update={"clip_norm": 1e9})
    whole, replicas = copy.deepcopy(run.module), run._replicas()
    optimizer = torch.optim.SGD(run.module.parameters(), lr=0.1)
    with workers() as pool:
        run._step(7, replicas, pool, optimizer)
    rngs = [np.random.default_rng([run.seed, 7, worker]) for worker in range(len(replicas))]
    n_crops = SETTINGS.batch_size // len(replicas)
    x = torch.from_numpy(np.concatenate([rng.standard_normal((4 * n_crops, 4), dtype=np.float32) for rng in rngs]))
    (whole(x) - x.sum(dim=1, keepdim=True)).square().mean().backward()
    for parameter, own, *copies in zip(whole.parameters(), *(replica.parameters() for replica in replicas), strict=True):
        torch.testing.assert_close(own.grad, parameter.grad)
        torch.testing.assert_close(own, parameter - 0.1 * parameter.grad)
        assert all(torch.equal(own, other) for other in copies)


def test_batch_normalisation_settles_for_the_last_steps(tmp_path):
    run = a_run(tmp_path)
    replicas = run._replicas()
    modes = []
    for step in range(run.steps):
        run._set_mode(replicas, step)
        modes.append([replica[1].training for replica in replicas])
        assert all(replica.training and replica[0].training for replica in replicas)
    n_free = round(run.steps * (1 - training.SETTLED_RATIO))
    assert modes == [[True] * len(replicas)] * n_free + [[False] * len(replicas)] * (run.steps - n_free)


def test_settled_statistics_stay_and_are_those_of_every_worker(tmp_path):
    run = a_run(tmp_path)
    replicas = run._replicas()
    optimizer = torch.optim.SGD(run.module.parameters(), lr=0.1)
    means = []
    with workers() as pool:
        for step in (0, run.steps - 2, run.steps - 1):
            run._step(step, replicas, pool, optimizer)
            means.append([replica[1].running_mean.clone() for replica in replicas])
    assert torch.equal(means[1][0], means[2][0]) and not torch.equal(means[0][0], torch.zeros(8))
    assert all(torch.equal(mean, others[0]) for others in means for mean in others)


@pytest.mark.parametrize("dies_at", [1, 17, 29])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch, dies_at):
    unbroken = a_run(tmp_path / "whole")
    log = unbroken.fit()
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Killed):
        a_run(tmp_path / "killed", dies_at=dies_at).fit()
    resumed = a_run(tmp_path / "killed")
    done = resumed._restore(torch.optim.AdamW(resumed.module.parameters()))
    assert len(done) == dies_at  # it does resume
    resumed = a_run(tmp_path / "killed")
    assert resumed.fit() == log
    pairs = zip(unbroken.module.state_dict().values(), resumed.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    remove_checkpoints(resumed.work)
    assert not (tmp_path / "killed").exists()


@pytest.mark.parametrize("how", SOME_DAMAGES)
def test_a_broken_checkpoint_is_told_and_set_aside_and_training_starts_over(tmp_path, monkeypatch, caplog, how):
    unbroken = a_run(tmp_path / "whole")
    log = unbroken.fit()
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Killed):
        a_run(tmp_path / "killed", dies_at=17).fit()
    path = tmp_path / "killed" / "checkpoint.pt"
    broken = SOME_DAMAGES[how](path.read_bytes())
    path.write_bytes(broken)
    resumed = a_run(tmp_path / "killed")
    assert resumed.fit() == log
    pairs = zip(unbroken.module.state_dict().values(), resumed.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    (message,) = caplog.messages
    assert message == f"{path}: broken, so set aside as checkpoint.pt.broken; what it held is made anew"
    assert (tmp_path / "killed" / "checkpoint.pt.broken").read_bytes() == broken


def test_state_is_keyed_by_settings_and_inputs(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "WORK", tmp_path / "work")
    (tmp_path / "x").write_text("1")
    one = training.work_folder("teach", code=[], settings="a", inputs=[tmp_path / "x"])
    assert one == training.work_folder("teach", code=[], settings="a", inputs=[tmp_path / "x"])
    assert one != training.work_folder("teach", code=[], settings="b", inputs=[tmp_path / "x"])
    (tmp_path / "x").write_text("2")
    one.mkdir(parents=True)
    assert one != training.work_folder("teach", code=[], settings="a", inputs=[tmp_path / "x"])
    assert not one.exists()  # nobody will resume it


def test_state_of_another_code_is_not_resumed(tmp_path, monkeypatch):
    code = [tmp_path / "code.py"]
    code[0].write_text("pass")
    monkeypatch.setattr(training, "WORK", tmp_path / "work")
    one = training.work_folder("teach", code=code, settings="a", inputs=[])
    code[0].write_text("...")
    assert one != training.work_folder("teach", code=code, settings="a", inputs=[])
