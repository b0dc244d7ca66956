import numpy as np
import pytest
import torch
from torch import nn

from facedistill.core.params import OptimizerParams
from facedistill.models import training
from facedistill.models.training import Run

SETTINGS = OptimizerParams(
    batch_size=4, crop_s=1.0, learning_rate=1e-2, weight_decay=0.01, warmup_steps=5, clip_norm=1.0
)  # fmt: skip


class Killed(BaseException):
    """Stands for kill -9: nothing may catch it."""


class Sum:
    """Learns the sum of four numbers; dies at a step where told to."""

    def __init__(self, module: nn.Module, dies_at: int | None) -> None:
        self.module, self.dies_at, self.calls = module, dies_at, 0

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor]:
        return (torch.from_numpy(rng.standard_normal((16, 4), dtype=np.float32)),)

    def __call__(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        if self.dies_at is not None and self.calls > self.dies_at:
            raise Killed
        return {"total": (self.module(x) - x.sum(dim=1, keepdim=True)).square().mean()}


def a_run(work, *, dies_at: int | None = None) -> Run:
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    return Run(name="t", module=module, loss=Sum(module, dies_at), optimizer=SETTINGS, steps=30, seed=1, work=work, audio_s_per_step=4.0)


def test_training_learns_and_repeats(tmp_path):
    one, two = a_run(tmp_path / "a"), a_run(tmp_path / "b")
    log = one.fit()
    assert log["total"].iloc[-1] < log["total"].iloc[0]
    assert log.equals(two.fit())
    assert all(torch.equal(a, b) for a, b in zip(one.module.state_dict().values(), two.module.state_dict().values(), strict=True))


@pytest.mark.parametrize("dies_at", [1, 17, 29])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path, monkeypatch, dies_at):
    unbroken = a_run(tmp_path / "whole")
    log = unbroken.fit()
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)
    with pytest.raises(Killed):
        a_run(tmp_path / "killed", dies_at=dies_at).fit()
    resumed = a_run(tmp_path / "killed")
    first, _ = resumed._restore(torch.optim.AdamW(resumed.module.parameters()), _Schedule())
    assert first == dies_at  # it does resume
    resumed = a_run(tmp_path / "killed")
    assert resumed.fit().equals(log)
    pairs = zip(unbroken.module.state_dict().values(), resumed.module.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    resumed.finish()
    assert not (tmp_path / "killed").exists()


class _Schedule:
    def load_state_dict(self, state: dict) -> None:
        assert state


def test_state_is_keyed_by_settings_and_inputs(tmp_path):
    (tmp_path / "x").write_text("1")
    one = training.work_folder("teach", settings="a", inputs=[tmp_path / "x"])
    assert one == training.work_folder("teach", settings="a", inputs=[tmp_path / "x"])
    assert one != training.work_folder("teach", settings="b", inputs=[tmp_path / "x"])
    (tmp_path / "x").write_text("2")
    assert one != training.work_folder("teach", settings="a", inputs=[tmp_path / "x"])
