"""What moves a face: the 52 ARKit curves, the curves of another rig, or the coordinates of a mesh."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.rig.arkit import CURVES, N_CURVES
from facedistill.rig.head import head

FILE = "controls.json"  # beside the manifest of labels; without it they are ARKit's


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
    """(K, L, 3) moves of L points of the lips per unit of each control -> (K, K) float32 mm^2.

    They are dot products, averaged over the points: for (K,) weights w, w @ products @ w is the mean square of how far the
    points are moved.
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
