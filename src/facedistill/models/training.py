"""The one training loop: seeded by step, resumable after a kill at any moment with the same final weights.

Every random draw of step n comes from (seed, n, worker), so a run resumed from a checkpoint repeats what an unbroken run does.

On the CPU two workers share each batch and their gradients are averaged. Networks in training must not draw random numbers.
"""

import copy
import csv
import io
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facedistill.core.files import sha256, write_text
from facedistill.core.paths import WORK
from facedistill.core.sections import OptimizerParams
from facedistill.models.state import load_state, save_state
from facedistill.models.workers import CPU_WORKERS, device, workers

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY_S = 20.0
LOG_EVERY_STEPS = 10
KEY_LETTERS = 16
# Batches differ much in level, and one crop of silence moves the statistics of a whole batch: the last steps keep the running
# statistics of batch normalisation, so that weights settle on what they will be used with.
SETTLED_RATIO = 0.4


def work_folder(stage: str, *, code: list[Path], settings: str, inputs: list[Path]) -> Path:
    """A folder for resumable state, named by all that determines the result; state of another result goes.

    Args:
        code: the files that decide the result, see `core.imports`.
    """
    folder = WORK / f"{stage}-{sha256(settings, *code, *inputs)[:KEY_LETTERS]}"
    for stale in set(WORK.glob(f"{stage}-{'[0-9a-f]' * KEY_LETTERS}")) - {folder}:
        shutil.rmtree(stale)
    return folder


def remove_checkpoints(*folders: Path) -> None:
    """Removes resumable state; call once the results are on disk."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


class Loss(Protocol):
    """What a training run minimises."""

    def __call__(self, module: nn.Module, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        """Named terms on a batch of `n_crops` that it draws; "total" is minimised."""


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

    def fit(self) -> list[dict[str, float]]:
        """Trains `module` in place.

        Returns:
            One row per `LOG_EVERY_STEPS` steps: the last of them, and the mean of each loss term over them.
        """
        optimizer = torch.optim.AdamW(
            self.module.parameters(),
            lr=self.optimizer.learning_rate,
            weight_decay=self.optimizer.weight_decay,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate)
        first, log = self._restore(optimizer, schedule)
        replicas = self._replicas()
        saved = time.monotonic()
        with (
            workers() as pool,
            tqdm(total=self.steps, initial=first, desc=self.name, unit="step", mininterval=5) as progress,
        ):
            for step in range(first, self.steps):
                log.append({"step": step + 1, **self._step(step, replicas, pool, optimizer, schedule)})
                progress.update()
                progress.set_postfix(
                    loss=f"{log[-1]['total']:.4f}", audio_s=round(self.audio_s_per_step * (step + 1)), refresh=False
                )
                if time.monotonic() - saved > CHECKPOINT_EVERY_S:
                    self._save(step + 1, optimizer, schedule, log)
                    saved = time.monotonic()
        if first < self.steps:
            self._save(self.steps, optimizer, schedule, log)  # for what trains several networks, or uses them at once
        self.module.eval()
        blocks = [log[first : first + LOG_EVERY_STEPS] for first in range(0, len(log), LOG_EVERY_STEPS)]
        return [{name: fmean(row[name] for row in block) for name in block[0]} | {"step": block[-1]["step"]} for block in blocks]

    def _set_mode(self, replicas: Sequence[nn.Module], step: int) -> None:
        """Training mode, with batch normalisation in the mode of use for the last `SETTLED_RATIO` of the steps."""
        settled = step >= round(self.steps * (1 - SETTLED_RATIO))
        for replica in replicas:
            replica.train()
            for layer in replica.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    layer.train(not settled)

    def _step(
        self,
        step: int,
        replicas: Sequence[nn.Module],
        pool: ThreadPoolExecutor,
        optimizer: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
    ) -> dict[str, float]:
        self._set_mode(replicas, step)
        n_crops = self.optimizer.batch_size // len(replicas)
        rngs = [np.random.default_rng([self.seed, step, worker]) for worker in range(len(replicas))]
        results = list(pool.map(self._gradients, replicas, [n_crops] * len(replicas), rngs))
        for parameter, first, *others in zip(self.module.parameters(), *(gradients for _, gradients in results), strict=True):
            parameter.grad = sum(others, first).div_(len(results)) if others and first is not None else first
        nn.utils.clip_grad_norm_(self.module.parameters(), self.optimizer.clip_norm)
        optimizer.step()
        schedule.step()
        for replica in replicas[1:]:
            for buffer, theirs in zip(self.module.buffers(), replica.buffers(), strict=True):
                theirs.copy_(buffer)
        return {name: sum(terms[name] for terms, _ in results) / len(results) for name in results[0][0]}

    def _gradients(
        self, replica: nn.Module, n_crops: int, rng: np.random.Generator
    ) -> tuple[dict[str, float], Sequence[Tensor | None]]:
        """One worker's terms of the loss and gradients of all parameters."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.optimizer.precision == "bfloat16"):
            terms = self.loss(replica, n_crops, rng)
        parameters = [parameter for parameter in replica.parameters() if parameter.requires_grad]
        found = iter(torch.autograd.grad(terms["total"], parameters, allow_unused=True))
        gradients = [next(found) if parameter.requires_grad else None for parameter in replica.parameters()]
        return {name: value.item() for name, value in terms.items()}, gradients

    def _replicas(self) -> list[nn.Module]:
        """The module itself, and for each further worker that the batch can be split among one with the same parameters."""
        n_workers = math.gcd(self.optimizer.batch_size, CPU_WORKERS) if device().type == "cpu" else 1
        shared = {id(parameter): parameter for parameter in self.module.parameters()}
        return [self.module, *(copy.deepcopy(self.module, dict(shared)) for _ in range(n_workers - 1))]

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
        save_state(self.work / CHECKPOINT, state)

    def _restore(
        self, optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler
    ) -> tuple[int, list[dict]]:
        state = load_state(self.work / CHECKPOINT)
        if state is None:
            return 0, []
        self.module.load_state_dict(state["module"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        return state["step"], state["log"]


def write_log(path: Path, log: Sequence[Mapping[str, float]]) -> None:
    """Writes the loss curves as CSV for `dvc plots`, to six significant digits."""
    text = io.StringIO()
    table = csv.DictWriter(text, log[0], lineterminator="\n")
    table.writeheader()
    table.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in log)
    write_text(path, text.getvalue())


def prepare_torch() -> None:
    """Makes training repeat bit for bit on one machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no product of matrices on a GPU does
    torch.set_deterministic_debug_mode("error")
