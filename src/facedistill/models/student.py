"""The students: convolutions and fully-connected layers from a 512 ms window of raw audio to one frame of rig curves."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.models.filterbank import FIELD_SAMPLES, GRID_FPS, HOP_SAMPLES, KERNEL, Filterbank, blocks
from facedistill.models.networks import load_network, save_network
from facedistill.rig.arkit import CURVES
from facedistill.rig.curves import FPS, at_times, n_frames

CHUNK_FRAMES = 4096  # grid frames computed at once, about 65 s: bounds memory on recordings of any length
ENSEMBLE_DELAY_S = 1 / 60  # the frame after the one shown must be there


@dataclass(frozen=True)
class StudentConfig:
    """What a student is built from."""

    channels: int
    past_ms: int  # the window is `past_ms` + `future_ms`
    future_ms: int
    filters: int = 64
    dilations: tuple[int, ...] = (1, 2, 4, 8)  # must fill the window: 512 + 2 * 256 * sum(dilations) samples
    level_keep_ratio: float = 1.0
    curves: tuple[str, ...] = CURVES

    @property
    def past_samples(self) -> int:
        return self.past_ms * SAMPLE_RATE_HZ // 1000

    @property
    def window_samples(self) -> int:
        return (self.past_ms + self.future_ms) * SAMPLE_RATE_HZ // 1000

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels into the first block, and out of each block."""
        return self.filters, *(self.channels for _ in self.dilations)

    def __post_init__(self) -> None:
        field_samples = FIELD_SAMPLES + HOP_SAMPLES * (KERNEL - 1) * sum(self.dilations)
        if field_samples != self.window_samples:
            raise ValueError(f"dilations {self.dilations} see {field_samples} samples; the window has {self.window_samples}")


class Student(nn.Module):
    """A raw-waveform rig generator (paper; layer sizes are ours): all valid and on one grid, so dense as window by window."""

    def __init__(self, config: StudentConfig) -> None:
        super().__init__()
        self.config = config
        self.front = Filterbank(config.filters, level_keep_ratio=config.level_keep_ratio)
        self.blocks = nn.ModuleList(blocks(config.widths, config.dilations))
        self.hidden = nn.Conv1d(config.channels, config.channels, 1)  # fully connected, frame by frame
        self.out = nn.Conv1d(config.channels, len(config.curves), 1)

    @torch.no_grad()
    def scale_output_init(self, scale: Tensor) -> None:
        """Starts with outputs of the size of (K,) `scale`: outputs far beyond their curves would kill the layers before them."""
        scale = scale.to(self.out.weight)
        self.out.weight.mul_(scale[:, None, None])
        self.out.bias.mul_(scale)

    def features(self, audio: Tensor) -> list[Tensor]:
        """(B, S) audio at 16 kHz -> (B, C, L_i) of each block, then of the hidden layer; the last two on the output grid."""
        activations = [self.front(audio)]
        for block in self.blocks:
            activations.append(block(activations[-1]))
        return [*activations[1:], torch.relu(self.hidden(activations[-1]))]

    def forward(self, audio: Tensor) -> Tensor:
        """(B, S) audio -> (B, L, K) curves; frame l sees samples [256 l, 256 l + window) and stands at 256 l + past."""
        return self.curves(self.features(audio)[-1])

    def curves(self, hidden: Tensor) -> Tensor:
        """(B, C, L) hidden activations -> (B, L, K) curves, not clamped to 0..1."""
        return self.out(hidden).transpose(1, 2)

    @torch.inference_mode()
    def animate(self, audio: np.ndarray, fps: float = FPS) -> np.ndarray:
        """(S,) at 16 kHz, any S -> (T, K) float32, interpolated linearly from the grid to t / fps; ARKit's curves in 0..1."""
        where, past, window = next(self.parameters()).device, self.config.past_samples, self.config.window_samples
        total = -(-len(audio) // HOP_SAMPLES) + 1  # the grid reaches the end of the recording
        padded = np.pad(audio, (past, (total - 1) * HOP_SAMPLES + window - past - len(audio)))
        grid = []
        for first in range(0, total, CHUNK_FRAMES):
            last = min(first + CHUNK_FRAMES, total)
            samples = torch.from_numpy(padded[first * HOP_SAMPLES : (last - 1) * HOP_SAMPLES + window])
            grid.append(self(samples[None].to(where))[0].cpu().numpy())
        frames = np.concatenate(grid)
        frames = np.clip(frames, 0, 1) if self.config.curves == CURVES else frames
        return at_times(frames, np.arange(n_frames(len(audio), fps)) / fps, fps=GRID_FPS)


def smooth(curves: np.ndarray, weights: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)) -> np.ndarray:
    """Real-time ensemble (paper) of (T, K) curves at 60 fps: r(t) = a1 r(t - 1/60 s) + a2 r(t) + a3 r(t + 1/60 s), ends held."""
    held = np.concatenate([curves[:1], curves, curves[-1:]])
    before, now, after = weights
    return (before * held[:-2] + now * held[1:-1] + after * held[2:]).astype(curves.dtype)


def save_student(student: Student, folder: Path) -> None:
    """Writes model.safetensors and config.json, see `load_student`."""
    save_network(student, asdict(student.config) | {"sample_rate_hz": SAMPLE_RATE_HZ}, folder)


def load_student(folder: Path, curves: tuple[str, ...] = CURVES) -> Student:
    """Loads a saved student of these curves in evaluation mode; InputError where it is none."""

    def build(config: dict) -> Student:
        config |= {name: tuple(config[name]) for name in ("dilations", "curves")}
        if config["curves"] != curves or config.pop("sample_rate_hz") != SAMPLE_RATE_HZ:
            raise ValueError("other curves or another sample rate")
        return Student(StudentConfig(**config))

    return load_network("student", folder, build)
