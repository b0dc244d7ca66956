"""Meshes as a mean and a few principal components (the paper's students of CodeTalker have 50)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path

FILE = "mesh.safetensors"
MAX_FITTED = 2000  # frames that the components are found on: their products of frames by frames stay small
NOTHING = 1e-9  # of the first component's variance: what is less is rounding


@dataclass(frozen=True, eq=False)
class MeshBasis:
    """P components of meshes with D coordinates; their coefficients have a standard deviation of 1."""

    mean: np.ndarray  # (D,) float32
    components: np.ndarray  # (P, D) float32, orthogonal, each as long as what it explains is spread

    def encode(self, meshes: np.ndarray) -> np.ndarray:
        """(T, D) -> (T, P) float32 coefficients."""
        return ((meshes - self.mean) @ self.components.T / np.square(self.components).sum(axis=1)).astype(np.float32)

    def decode(self, coefficients: np.ndarray) -> np.ndarray:
        """(T, P) -> (T, D) float32 meshes."""
        return self.mean + np.asarray(coefficients, np.float32) @ self.components

    def kept(self, meshes: np.ndarray) -> float:
        """The share of the variance of (T, D) meshes that is left in their coefficients."""
        lost = np.square(meshes - self.decode(self.encode(meshes)), dtype=np.float64).sum()
        return float(1 - lost / np.square(meshes - meshes.mean(axis=0), dtype=np.float64).sum())

    def names(self) -> tuple[str, ...]:
        """Of the coefficients."""
        return tuple(f"component{number:02d}" for number in range(len(self.components)))


def fit(frames: np.ndarray, n_components: int) -> MeshBasis:
    """The principal components of (N, D) meshes; fewer than asked for where that is all there is, none if they never move."""
    mean = frames.mean(axis=0, dtype=np.float64)
    centred = frames - mean
    variances, vectors = np.linalg.eigh(centred @ centred.T / max(len(frames) - 1, 1))
    variances, vectors = variances[::-1], vectors[:, ::-1]
    n_kept = min(n_components, int((variances > NOTHING * max(variances[0], 1e-30)).sum()))
    components = vectors[:, :n_kept].T @ centred / np.sqrt(max(len(frames) - 1, 1))
    components *= np.sign(components[np.arange(n_kept), np.abs(components).argmax(axis=1)])[:, None]  # the same sign every time
    return MeshBasis(mean.astype(np.float32), components.astype(np.float32))


def evenly_spaced_indices(n: int, n_wanted: int) -> np.ndarray:
    """Indices of up to `n_wanted` of `n` things: the middles of as many equal stretches."""
    n_wanted = min(n, n_wanted)
    return ((np.arange(n_wanted) + 0.5) * n / max(n_wanted, 1)).astype(int)


def write_basis(path: Path, basis: MeshBasis) -> None:
    """Writes a safetensors file."""
    tensors = {"mean": basis.mean, "components": basis.components}
    with atomic_path(path) as temporary:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, temporary)


def read_basis(path: Path) -> MeshBasis:
    """Reads what `write_basis` writes; InputError where it is missing, or something else."""
    try:
        found = load_file(path)
        return MeshBasis(found["mean"], found["components"])
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: not the components of meshes ({error})") from None
