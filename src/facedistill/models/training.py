"""The one training loop: seeded by step, resumable after a kill at any moment with the same final weights.

Every random draw of step n comes from (seed, n), so a run resumed from a checkpoint repeats what an unbroken run does.
"""

import math
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facedistill.core.files import atomic_path, sha256, write_text
from facedistill.core.params import OptimizerParams
from facedistill.core.paths import WORK

CHECKPOINT_EVERY_S = 20.0
LOG_EVERY_STEPS = 10


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def step_rng(seed: int, step: int) -> np.random.Generator:
    """The generator of one training step."""
    return np.random.default_rng([seed, step])


def work_folder(stage: str, *, settings: str, inputs: list[Path]) -> Path:
    """A folder for resumable state, named by all that determines the result, so that stale state is never resumed."""
    key = sha256(settings, *inputs)[:16]
    return WORK / f"{stage}-{key}"


class Loss(Protocol):
    """What a training run minimises."""

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """Draws a batch; runs in a thread while the step before computes."""

    def __call__(self, *batch: Tensor) -> dict[str, Tensor]:
        """Named terms of the loss on a batch; "total" is minimised."""


@dataclass
class Run:
    """One training run."""

    name: str
    module: nn.Module
    loss: Loss
    optimizer: OptimizerParams
    steps: int
    seed: int
    work: Path
    audio_s_per_step: float

    def fit(self) -> pd.DataFrame:
        """Trains `module` in place.

        Returns:
            One row per `LOG_EVERY_STEPS` steps: step and the mean of each loss term.
        """
        optimizer = torch.optim.AdamW(
            self.module.parameters(), lr=self.optimizer.learning_rate, weight_decay=self.optimizer.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        first, log = self._restore(optimizer, schedule)
        self.module.train()
        saved = time.monotonic()
        with tqdm(total=self.steps, initial=first, desc=self.name, unit="step", mininterval=5) as progress:
            for step, batch in self._batches(first):
                log.append({"step": step + 1, **self._step(step, batch, optimizer, schedule)})
                progress.update()
                progress.set_postfix(
                    loss=f"{log[-1]['total']:.4f}", audio_s=round(self.audio_s_per_step * (step + 1)), refresh=False
                )
                if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    self._save(step + 1, optimizer, schedule, log)
                    saved = time.monotonic()
        self.module.eval()
        frame = pd.DataFrame(log)
        return frame.groupby((frame["step"] - 1) // LOG_EVERY_STEPS).mean().round(6).astype({"step": int})

    def finish(self) -> None:
        """Removes the resumable state; call once the results are on disk."""
        shutil.rmtree(self.work, ignore_errors=True)

    def _batches(self, first: int) -> Iterator[tuple[int, list[Tensor]]]:
        """Every step from `first` with its batch on the device, drawn one step ahead."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            coming = pool.submit(self.loss.draw, step_rng(self.seed, first))
            for step in range(first, self.steps):
                batch = coming.result()
                coming = pool.submit(self.loss.draw, step_rng(self.seed, step + 1))
                yield step, [tensor.to(device()) for tensor in batch]

    def _step(
        self,
        step: int,
        batch: list[Tensor],
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> dict[str, float]:
        torch.manual_seed(self.seed * 1_000_003 + step)  # dropout and latent samples inside the networks
        terms = self.loss(*batch)
        optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), self.optimizer.clip_norm)
        optimizer.step()
        schedule.step()
        return {name: value.item() for name, value in terms.items()}

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        warmup, steps = self.optimizer.warmup_steps, self.steps
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))

    def _save(
        self, step: int, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, log: list[dict]
    ) -> None:
        state = {
            "step": step, "module": self.module.state_dict(), "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(), "log": log,
        }  # fmt: skip
        with atomic_path(self.work / "checkpoint.pt") as temporary:
            torch.save(state, temporary)

    def _restore(
        self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> tuple[int, list[dict]]:
        path = self.work / "checkpoint.pt"
        if not path.is_file():
            return 0, []
        state = torch.load(path, weights_only=True, map_location=device())
        self.module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return state["step"], state["log"]


def write_log(path: Path, log: pd.DataFrame) -> None:
    """Writes the loss curves as CSV for `dvc plots`."""
    write_text(path, log.to_csv(index=False))


def prepare_torch() -> None:
    """Makes training repeat bit for bit on one machine."""
    torch.use_deterministic_algorithms(True)
