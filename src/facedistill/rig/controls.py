"""What moves a face: the 52 ARKit curves, those of another rig, or a few principal components of meshes."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, read_json, write_json
from facedistill.rig.arkit import CURVES, N_CURVES
from facedistill.rig.head import head

FILE = "controls.json"  # beside the manifest of labels; without it they are ARKit's
MESH_FILE = "mesh.safetensors"  # beside those of meshes
MAX_FITTED = 2000  # frames that the components are found on: their products of frames by frames stay small


@dataclass(frozen=True, eq=False)
class Lips:
    """What K controls do to the lips."""

    gap_mm: np.ndarray  # (K,) float32, change of the lip gap per unit of each control
    gap_neutral_mm: float  # the lip gap where all are 0
    products_mm2: np.ndarray  # (K, K) float32, how their moves of the lips go together (see `lip_gram_matrix`)


@dataclass(frozen=True, eq=False)
class Controls:
    """K controls, and what they do to the lips, where that is known."""

    names: tuple[str, ...]
    rest: np.ndarray  # (K,) float32, where they are in non-speech audio
    lips: Lips | None = None

    @property
    def are_arkit(self) -> bool:
        """Whether these are blendshape weights from 0 to 1, below which nothing is seen."""
        return self.names == CURVES


@cache
def arkit() -> Controls:
    """The 52 curves on the built-in head."""
    products_mm2 = lip_gram_matrix(head().basis[:, head().regions["lips"]])
    rest = np.zeros(N_CURVES, np.float32)
    for array in (products_mm2, rest):
        array.flags.writeable = False  # shared by the whole process
    return Controls(CURVES, rest, Lips(head().gap_mm, head().gap_neutral_mm, products_mm2))


def lip_gram_matrix(moves_mm: np.ndarray) -> np.ndarray:
    """(K, L, 3) moves of L points per unit of each control -> (K, K) float32 mm^2, their dot products averaged over the points.

    For (K,) weights w, w @ products @ w is the mean square of how far the points are moved.
    """
    flat = moves_mm.reshape(len(moves_mm), -1).astype(np.float64)
    return (flat @ flat.T / moves_mm.shape[1]).astype(np.float32)


def write_controls(folder: Path, controls: Controls) -> None:
    """Writes controls.json; nothing for ARKit's."""
    if controls.are_arkit:
        return
    lips = controls.lips and {name: np.asarray(value).tolist() for name, value in vars(controls.lips).items()}
    write_json(folder / FILE, {"names": list(controls.names), "rest": controls.rest.tolist(), "lips": lips})


def read_controls(folder: Path) -> Controls:
    """The controls of a folder of labels; InputError where its controls.json has another form."""
    if not (folder / FILE).is_file():
        return arkit()
    found = read_json(folder / FILE)
    try:
        names, lips = tuple(found["names"]), found["lips"]
        k = len(names)
        if lips is not None:
            lips = Lips(_array(lips["gap_mm"], k), float(lips["gap_neutral_mm"]), _array(lips["products_mm2"], k, k))
        return Controls(names, _array(found["rest"], k), lips)
    except (KeyError, TypeError, ValueError) as error:
        keys = "names, rest and lips: null or gap_mm, gap_neutral_mm, products_mm2"
        raise InputError(f"{folder / FILE}: not the controls of a face ({error}); expected {keys}") from None


def _array(values: list, *shape: int) -> np.ndarray:
    array = np.array(values, np.float32)
    if array.shape != shape:
        raise ValueError("a value for each name is missing")
    return array


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
    n_kept = min(n_components, int((variances > 1e-9 * max(variances[0], 1e-30)).sum()))  # what is less is rounding
    components = vectors[:, :n_kept].T @ centred / np.sqrt(max(len(frames) - 1, 1))
    components *= np.sign(components[np.arange(n_kept), np.abs(components).argmax(axis=1)])[:, None]  # the same sign every time
    return MeshBasis(mean.astype(np.float32), components.astype(np.float32))


def evenly_spaced_indices(n: int, n_wanted: int) -> np.ndarray:
    """Indices of up to `n_wanted` of `n` things: the middles of as many equal stretches."""
    n_wanted = min(n, n_wanted)
    return ((np.arange(n_wanted) + 0.5) * n / max(n_wanted, 1)).astype(int)


def write_basis(path: Path, basis: MeshBasis) -> None:
    """Writes a safetensors file."""
    with atomic_path(path) as temporary:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in vars(basis).items()}, temporary)


def read_basis(path: Path) -> MeshBasis:
    """Reads what `write_basis` writes; InputError where it is missing, or something else."""
    try:
        found = load_file(path)
        return MeshBasis(found["mean"], found["components"])
    except (OSError, SafetensorError, KeyError) as error:
        raise InputError(f"{path}: not the components of meshes ({error})") from None
