"""The teacher (paper; Voice2Face, Villanueva Aylagas et al., SCA 2022): whole utterances -> meshes -> rig curves."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import HubertModel

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.paths import DATA
from facedistill.core.sections import GeneratorParams, InternalTeacher, TeachParams
from facedistill.models.dataset import N_PHONE_CLASSES
from facedistill.models.encoder import build_encoder, encode_at, encoder_from_config
from facedistill.models.networks import load_network, save_network
from facedistill.rig.curves import FPS, at_times, n_frames
from facedistill.rig.head import mesh

ALIGNED_SAMPLES = 800  # 3 frames at 60 fps: the shortest stretch of samples that holds whole frames
FREE_START = 0.1  # of the usual size of first weights
CHUNK_S, OVERLAP_S = 20.0, 1.0  # of long recordings, and the context on either side


def mesh_basis() -> Tensor:
    """(K, 3 V) displacements of the vertices of `mesh` in cm per unit of every curve."""
    return torch.tensor(mesh().basis).flatten(1) / 10


class Posterior(nn.Module):
    """q(z | mesh): one latent vector an utterance, for what the audio does not tell; used in training only."""

    def __init__(self, n_coordinates: int, latent: int) -> None:
        super().__init__()
        self.frames = nn.Linear(n_coordinates, 32)
        self.out = nn.Linear(32, 2 * latent)

    def forward(self, mesh: Tensor) -> tuple[Tensor, Tensor]:  # (B, T, 3V) -> mean, log variance (B, latent)
        pooled = torch.relu(self.frames(mesh)).mean(dim=1)
        return self.out(pooled).chunk(2, dim=1)


class MeshGenerator(nn.Module):
    """A conditional VAE's convolution -> LSTM -> fully connected, from features and z to displacements of all vertices in cm."""

    def __init__(self, n_features: int, params: GeneratorParams, basis: Tensor) -> None:
        super().__init__()
        self.latent = params.latent
        self.conv = nn.Sequential(
            nn.Conv1d(n_features + params.latent, params.channels, 5, padding=2),
            nn.GELU(),
            nn.Conv1d(params.channels, params.channels, 5, padding=2),
            nn.GELU(),
        )
        self.lstm = nn.LSTM(params.channels, params.lstm, batch_first=True, bidirectional=True)
        n_shapes, n_free_directions = len(basis), params.n_free_directions
        self.code = nn.Linear(2 * params.lstm + params.channels, n_shapes + n_free_directions)
        self.out = nn.Linear(n_shapes + n_free_directions, basis.shape[1])
        with torch.no_grad():  # start near the span of the blendshapes: random curves, not random vertices
            self.out.weight.mul_(FREE_START)
            self.out.weight[:, :n_shapes] = basis.T
            self.out.bias.zero_()

    def forward(self, features: Tensor, z: Tensor) -> Tensor:  # (B, T, C), (B, latent) -> (B, T, 3V)
        conditioned = torch.cat([features, z[:, None].expand(-1, features.shape[1], -1)], dim=2)
        x = self.conv(conditioned.transpose(1, 2)).transpose(1, 2)
        return self.out(self.code(torch.cat([self.lstm(x)[0], x], dim=2)))


class Teacher(nn.Module):
    """The whole teacher; in use z is zero, the prior's mean."""

    def __init__(self, encoder: HubertModel, params: GeneratorParams) -> None:
        super().__init__()
        basis = mesh_basis()
        self.encoder = encoder
        self.generator = MeshGenerator(encoder.config.hidden_size, params, basis)
        self.posterior = Posterior(basis.shape[1], params.latent)
        self.mesh2rig = nn.Linear(basis.shape[1], basis.shape[0])
        self.phones = nn.Linear(encoder.config.hidden_size, N_PHONE_CLASSES)  # a second task in training: what is said
        ridge = basis.T @ torch.linalg.inv(basis @ basis.T + 1e-3 * torch.eye(basis.shape[0]))  # (3V, K)
        with torch.no_grad():
            self.mesh2rig.weight.copy_(ridge.T)
            self.mesh2rig.bias.zero_()

    @torch.inference_mode()
    def predict(self, audio: np.ndarray, chunk_s: float = CHUNK_S) -> tuple[np.ndarray, np.ndarray]:
        """(S,) audio at 16 kHz -> (T, K) float32 curves in 0..1 and (T,) int64 phone classes at 60 fps, in overlapping chunks."""
        curves, classes = zip(*((self.mesh2rig(mesh), phones) for mesh, phones in self._chunks(audio, chunk_s)), strict=True)
        return torch.cat(curves).clamp(0, 1).cpu().numpy(), torch.cat(classes).cpu().numpy()

    @torch.inference_mode()
    def predict_meshes(self, audio: np.ndarray, chunk_s: float = CHUNK_S) -> tuple[np.ndarray, np.ndarray]:
        """`predict` before meshes become curves: (T, 3V) float32 displacements in mm, a megabyte a second, and phone classes."""
        meshes, classes = zip(*self._chunks(audio, chunk_s), strict=True)
        return 10 * torch.cat(meshes).cpu().numpy(), torch.cat(classes).cpu().numpy()

    @torch.inference_mode()
    def rig(self, meshes: np.ndarray) -> np.ndarray:
        """(T, 3V) displacements in mm -> (T, K) float32 curves in 0..1."""
        return self.mesh2rig(torch.from_numpy(meshes / 10).to(self.mesh2rig.weight)).clamp(0, 1).cpu().numpy()

    def _chunks(self, audio: np.ndarray, chunk_s: float) -> Iterator[tuple[Tensor, Tensor]]:
        """(T', 3V) meshes in cm and (T',) phone classes of one chunk after another."""
        total, chunk, margin = n_frames(len(audio)), *(int(seconds * FPS) // 3 * 3 for seconds in (chunk_s, OVERLAP_S))
        where = self.mesh2rig.weight.device
        for first in range(0, total, chunk):
            last = min(first + chunk, total)
            begin, end = max(first - margin, 0), min(last + margin, total)
            samples = audio[begin // 3 * ALIGNED_SAMPLES : end * SAMPLE_RATE_HZ // FPS + 1]
            padded = np.pad(samples, (0, max(0, SAMPLE_RATE_HZ // 4 - len(samples))))  # the encoder needs some frames
            times_s = torch.arange(first - begin, last - begin, device=where) / FPS
            features = encode_at(self.encoder, torch.from_numpy(padded).to(where)[None], times_s)
            mesh = self.generator(features, features.new_zeros(1, self.generator.latent))
            yield mesh[0], self.phones(features)[0].argmax(dim=1)

    def animate(self, audio: np.ndarray, fps: float = FPS, chunk_s: float = CHUNK_S) -> np.ndarray:
        """The curves of `predict`, interpolated linearly to `fps`: (T, K), frame t at t / fps."""
        return at_times(self.predict(audio, chunk_s)[0], np.arange(n_frames(len(audio), fps)) / fps)


def folder_of(choice: InternalTeacher, name: str) -> Path:
    """Where one of our teachers lies: that of stage `teach`, unless it differs from it."""
    return DATA / "teachers" / name / "teacher" if choice.set else DATA / "teach"


def build_teacher(params: TeachParams) -> Teacher:
    """A teacher with first weights, its encoder pretrained or not."""
    teacher = Teacher(build_encoder(params.encoder), params.generator)
    teacher.encoder.requires_grad_(params.encoder.trainable)
    return teacher


def save_teacher(teacher: Teacher, params: TeachParams, folder: Path) -> None:
    """Writes model.safetensors and config.json, from which the network is rebuilt."""
    encoder = json.loads(teacher.encoder.config.to_json_string(use_diff=False))
    encoder.pop("_name_or_path", None)  # where it was loaded from is a folder of this machine
    save_network(teacher, {"generator": params.generator.model_dump(), "encoder": encoder}, folder)


def load_teacher(folder: Path) -> Teacher:
    """Loads a saved teacher in evaluation mode; InputError where it is none."""

    def build(config: dict) -> Teacher:
        return Teacher(encoder_from_config(config["encoder"]), GeneratorParams(**config["generator"]))

    return load_network("teacher", folder, build)
