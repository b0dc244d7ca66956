"""The training loop: seeded by step (networks must not draw), and resumable after a kill with the same final weights."""

import copy
import hashlib
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from facedistill.core.files import atomic_path, sha256, write_text
from facedistill.core.paths import WORK
from facedistill.core.sections import OptimizerParams
from facedistill.models.networks import CPU_WORKERS, device, workers

CHECKPOINT = "checkpoint.pt"
CHECKPOINT_EVERY_S = 20.0
LOG_EVERY_STEPS = 10
KEY_LETTERS = 16
DIGEST_BYTES = 32
# Levels differ much between batches, and one silent crop shifts a whole batch's statistics: the last steps use the running
# statistics of batch normalisation, so that weights settle on what inference uses.
SETTLED_RATIO = 0.4

# Of a module on a batch that it draws, of so many crops: named terms, of which "total" is minimised.
Loss = Callable[[nn.Module, int, np.random.Generator], dict[str, Tensor]]


@dataclass
class Run:
    """A training that can be stopped at any time and taken up again."""

    name: str
    module: nn.Module
    loss: Loss
    optimizer: OptimizerParams
    steps: int
    seed: int
    work: Path

    def fit(self) -> list[dict[str, float]]:
        """Trains `module` in place; a row every `LOG_EVERY_STEPS` steps tells the last, and the mean of each loss term."""
        settings = self.optimizer
        optimizer = torch.optim.AdamW(self.module.parameters(), weight_decay=settings.weight_decay, fused=True)
        log = self._restore(optimizer)
        first, replicas, saved_s = len(log), self._replicas(), time.monotonic()
        with workers() as pool, tqdm(total=self.steps, initial=first, desc=self.name, unit="step", mininterval=5) as progress:
            for step in range(first, self.steps):
                optimizer.param_groups[0]["lr"] = settings.learning_rate * self._rate(step)
                log.append({"step": step + 1, **self._step(step, replicas, pool, optimizer)})
                progress.update()
                audio_s = round(settings.batch_size * settings.crop_s * (step + 1))
                progress.set_postfix(loss=f"{log[-1]['total']:.4f}", audio_s=audio_s, refresh=False)
                # In the end too, for what trains several networks, or uses them at once.
                if time.monotonic() - saved_s > CHECKPOINT_EVERY_S or step == self.steps - 1:
                    save_state(self.work / CHECKPOINT, (self.module.state_dict(), optimizer.state_dict(), log))
                    saved_s = time.monotonic()
        self.module.eval()
        blocks = [log[first : first + LOG_EVERY_STEPS] for first in range(0, len(log), LOG_EVERY_STEPS)]
        return [{name: fmean(row[name] for row in block) for name in block[0]} | {"step": block[-1]["step"]} for block in blocks]

    def _set_mode(self, replicas: Sequence[nn.Module], step: int) -> None:
        """Training mode; for the last `SETTLED_RATIO` of the steps batch normalisation is in evaluation mode."""
        settled = step >= round(self.steps * (1 - SETTLED_RATIO))
        for replica in replicas:
            replica.train()
            for layer in replica.modules():
                if isinstance(layer, nn.BatchNorm1d):
                    layer.train(not settled)

    def _step(self, step: int, replicas: Sequence[nn.Module], pool: ThreadPoolExecutor, optimizer: Optimizer) -> dict[str, float]:
        self._set_mode(replicas, step)
        rngs = [np.random.default_rng([self.seed, step, worker]) for worker in range(len(replicas))]
        n_crops = self.optimizer.batch_size // len(replicas)
        terms, gradients = zip(*pool.map(partial(self._gradients, n_crops), replicas, rngs), strict=True)
        for parameter, first, *others in zip(self.module.parameters(), *gradients, strict=True):
            parameter.grad = sum(others, first).div_(len(replicas)) if others and first is not None else first
        nn.utils.clip_grad_norm_(self.module.parameters(), self.optimizer.clip_norm)
        optimizer.step()
        for replica in replicas[1:]:
            for buffer, theirs in zip(self.module.buffers(), replica.buffers(), strict=True):
                theirs.copy_(buffer)
        return {name: sum(own[name] for own in terms) / len(terms) for name in terms[0]}

    def _gradients(self, n_crops: int, replica: nn.Module, rng: np.random.Generator) -> tuple[dict[str, float], list]:
        """One worker's terms of the loss and gradients of all parameters, None for those that are not trained."""
        with torch.autocast(device().type, torch.bfloat16, enabled=self.optimizer.precision == "bfloat16"):
            terms = self.loss(replica, n_crops, rng)
        parameters = [parameter for parameter in replica.parameters() if parameter.requires_grad]
        found = iter(torch.autograd.grad(terms["total"], parameters, allow_unused=True))
        gradients = [next(found) if parameter.requires_grad else None for parameter in replica.parameters()]
        return {name: value.item() for name, value in terms.items()}, gradients

    def _replicas(self) -> list[nn.Module]:
        """The module, and for each further worker that shares a batch one with the same parameters and own buffers."""
        n_workers = math.gcd(self.optimizer.batch_size, CPU_WORKERS) if device().type == "cpu" else 1
        shared = {id(parameter): parameter for parameter in self.module.parameters()}
        return [self.module, *(copy.deepcopy(self.module, dict(shared)) for _ in range(n_workers - 1))]

    def _rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to zero."""
        warmup = self.optimizer.warmup_steps
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(self.steps - warmup, 1)))

    def _restore(self, optimizer: Optimizer) -> list[dict]:
        """Loads the checkpoint, if there is one; returns a row for each step that is done."""
        *states, log = load_state(self.work / CHECKPOINT) or [[]]
        for part, state in zip((self.module, optimizer), states, strict=False):
            part.load_state_dict(state)
        return log


def write_log(path: Path, log: Sequence[Mapping[str, float]]) -> None:
    """Writes the loss curves as CSV for `dvc plots`, to six significant digits."""
    rows = [log[0], *([f"{value:.6g}" for value in row.values()] for row in log)]
    write_text(path, "".join(",".join(row) + "\n" for row in rows))


def work_folder(stage: str, *, code: list[Path], settings: str, inputs: list[Path]) -> Path:
    """A folder for resumable state, keyed by all that decides the result, `code` too; state of other results is removed."""
    folder = WORK / f"{stage}-{sha256(settings, *code, *inputs)[:KEY_LETTERS]}"
    for stale in set(WORK.glob(f"{stage}-{'[0-9a-f]' * KEY_LETTERS}")) - {folder}:
        shutil.rmtree(stale)
    return folder


def remove_checkpoints(*folders: Path) -> None:
    """Removes resumable state; call once the results are on disk."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def save_state(path: Path, value: object) -> None:
    """Writes tensors, numbers and texts, in lists and dictionaries, atomically, with their SHA-256 at the end."""
    with atomic_path(path) as temporary:
        torch.save(value, temporary)
        with temporary.open("r+b") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
            file.write(digest)  # a zip archive may have something behind it


def load_state(path: Path) -> object | None:
    """Reads what `save_state` wrote, onto the CPU; None where there is none, or a broken file, which is logged and set aside."""
    if not path.exists():
        return None
    try:
        content = memoryview(path.read_bytes())
    except PermissionError:  # it may be whole
        raise
    except OSError:  # a disk that has lost it
        content = memoryview(b"")
    if hashlib.sha256(content[:-DIGEST_BYTES]).digest() == content[-DIGEST_BYTES:]:
        return torch.load(path, weights_only=True, map_location="cpu")
    aside = path.with_name(f"{path.name}.broken")
    os.replace(path, aside)
    logging.getLogger(__name__).warning("%s: broken, so set aside as %s; what it held is made anew", path, aside.name)
    return None


def prepare_torch() -> None:
    """Makes training repeat bit for bit on one machine."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it no product of matrices on a GPU does
    torch.set_deterministic_debug_mode("error")
