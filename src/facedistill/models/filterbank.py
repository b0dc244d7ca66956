"""The front end of teacher and students: a learnable filterbank on the raw waveform, and convolutions on its 16 ms grid."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from facedistill.core import SAMPLE_RATE_HZ

HOP_SAMPLES = 256  # 16 ms: the grid of every front end and student, 62.5 frames a second
GRID_FPS = SAMPLE_RATE_HZ / HOP_SAMPLES
KERNEL_SAMPLES = 320  # 20 ms
STRIDE_SAMPLES = 64  # 4 ms
POOL = HOP_SAMPLES // STRIDE_SAMPLES
FIELD_SAMPLES = KERNEL_SAMPLES + (POOL - 1) * STRIDE_SAMPLES  # 512: what one grid frame sees
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
KERNEL = 3  # of the blocks behind the filterbank
ENERGY_FLOOR = 1e-7  # about -70 dB full scale: below it is silence, whatever its level


def full_precision(function: Callable) -> Callable:
    """Keeps 32 bits where training has fewer."""
    return torch.autocast("cpu", enabled=False)(torch.autocast("cuda", enabled=False)(function))


def gabor_filters(n_filters: int) -> Tensor:
    """(2 N, 1, KERNEL_SAMPLES), real then imaginary parts: unit-gain Gabor filters, mel-spaced with mel-wide Gaussians."""
    lowest, highest = (2595 * math.log10(1 + hz / 700) for hz in (LOWEST_HZ, HIGHEST_HZ))
    edges_hz = 700 * (10 ** (np.linspace(lowest, highest, n_filters + 2) / 2595) - 1)
    centre_hz, width_hz = edges_hz[1:-1, None], (edges_hz[2:] - edges_hz[:-2])[:, None] / 2
    time_s = (np.arange(KERNEL_SAMPLES) - (KERNEL_SAMPLES - 1) / 2) / SAMPLE_RATE_HZ
    sigma_s = np.minimum(math.sqrt(2 * math.log(2)) / (math.pi * width_hz), KERNEL_SAMPLES / SAMPLE_RATE_HZ / 5)
    envelope = np.exp(-0.5 * (time_s / sigma_s) ** 2)
    envelope /= envelope.sum(axis=1, keepdims=True)
    phase = 2 * math.pi * centre_hz * time_s
    # NumPy throughout: `transformers` builds networks on the meta device, where torch computes nothing.
    return torch.from_numpy(np.concatenate([envelope * np.cos(phase), envelope * np.sin(phase)])[:, None].astype(np.float32))


class Filterbank(nn.Module):
    """Log energies of Gabor filters that start as a mel spectrogram and are trained on (Zeghidour et al., ICASSP 2018).

    Convolutions are valid: frame l sees samples [256 l, 256 l + 512) and no other. `level_keep_ratio` of a frame's level, the
    mean of its log energies, stays in them: with little of it they tell the spectrum's shape at any loudness.
    """

    def __init__(self, n_filters: int, *, level_keep_ratio: float = 1.0) -> None:
        super().__init__()
        self.level_keep_ratio = level_keep_ratio
        self.filters = nn.Conv1d(1, 2 * n_filters, KERNEL_SAMPLES, STRIDE_SAMPLES, bias=False)
        self.filters.weight.data.copy_(gabor_filters(n_filters))
        self.norm = nn.BatchNorm1d(n_filters)

    @full_precision  # products of 8 bits would hide weak bands behind strong ones
    def forward(self, audio: Tensor) -> Tensor:  # (B, S) -> (B, n_filters, L), L = (S - 512) // 256 + 1
        windows = audio.unfold(1, KERNEL_SAMPLES, STRIDE_SAMPLES)  # (B, S / 64, 320)
        # The convolution as one product: with one channel to read, twice as fast on a CPU.
        real, imaginary = (windows @ self.filters.weight[:, 0].T).chunk(2, dim=2)  # (B, S / 64, n_filters)
        n_frames = windows.shape[1] // POOL
        energy = (real.square() + imaginary.square())[:, : n_frames * POOL].unflatten(1, (n_frames, POOL)).mean(dim=2)
        bands = torch.log(energy + ENERGY_FLOOR)
        return self.norm((bands - (1 - self.level_keep_ratio) * bands.mean(dim=2, keepdim=True)).transpose(1, 2))


class Block(nn.Module):
    """A dilated convolution, valid or of the `same` length, batch normalisation, ReLU and a residual where widths agree."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int, *, same: bool = False) -> None:
        super().__init__()
        reach = dilation * (KERNEL - 1) // 2
        self.conv = nn.Conv1d(in_channels, out_channels, KERNEL, dilation=dilation, padding=reach if same else 0, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)
        self.residual = in_channels == out_channels
        self.crop = 0 if same else reach

    def forward(self, x: Tensor) -> Tensor:  # (B, C, L) -> (B, C', L - 2 * crop)
        y = torch.relu(self.norm(self.conv(x)))
        return y + x[:, :, self.crop : x.shape[2] - self.crop] if self.residual else y


def blocks(widths: Sequence[int], dilations: Sequence[int], *, same: bool = False) -> list[Block]:
    """A chain of blocks: the channels into the first and out of each, and the dilation of each."""
    return [Block(*pair, dilation, same=same) for pair, dilation in zip(pairwise(widths), dilations, strict=True)]
