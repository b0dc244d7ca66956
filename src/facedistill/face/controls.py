"""What moves a face: the 52 ARKit curves, the curves of another rig, or the coordinates of a mesh."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.face.arkit import CURVES, N_CURVES
from facedistill.face.head import head

FILE = "controls.json"  # beside the manifest of labels; without it they are ARKit's


@dataclass(frozen=True, eq=False)
class Controls:
    """K controls, and what they do to the lips, where that is known.

    Attributes:
        names: (K,).
        rest: (K,) float32, where they are when nobody speaks.
        gap_mm: (K,) float32, change of the lip gap per unit of each; None where nobody has told.
        gap_neutral_mm: the lip gap where all are 0.
        lips_mm2: (K, K) float32, how their moves of the lips go together (see `lip_products`); None where nobody has told.
    """

    names: tuple[str, ...]
    rest: np.ndarray
    gap_mm: np.ndarray | None = None
    gap_neutral_mm: float = 0.0
    lips_mm2: np.ndarray | None = None

    @property
    def are_arkit(self) -> bool:
        """Whether these are blendshape weights from 0 to 1, below which nothing is seen."""
        return self.names == CURVES


@cache
def arkit() -> Controls:
    """The 52 curves on the built-in head."""
    lips_mm2 = lip_products(head().basis[:, head().regions["lips"]])
    return Controls(CURVES, np.zeros(N_CURVES, np.float32), head().gap_mm, head().gap_neutral_mm, lips_mm2)


def lip_products(moves_mm: np.ndarray) -> np.ndarray:
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
    gap_mm, lips_mm2 = (None if array is None else array.tolist() for array in (controls.gap_mm, controls.lips_mm2))
    content = {"names": list(controls.names), "rest": controls.rest.tolist(), "gap_mm": gap_mm, "lips_mm2": lips_mm2}
    write_json(folder / FILE, content | {"gap_neutral_mm": controls.gap_neutral_mm})


def read_controls(folder: Path) -> Controls:
    """The controls of a folder of labels.

    Raises:
        InputError: a controls.json of another form.
    """
    if not (folder / FILE).is_file():
        return arkit()
    found = read_json(folder / FILE)
    try:
        rest = np.array(found["rest"], np.float32)
        told = (None if found[name] is None else np.array(found[name], np.float32) for name in ("gap_mm", "lips_mm2"))
        gap_mm, lips_mm2 = told
        controls = Controls(tuple(found["names"]), rest, gap_mm, float(found["gap_neutral_mm"]), lips_mm2)
        k = len(controls.names)
        if any(array is not None and array.shape != (k,) * n for array, n in ((rest, 1), (gap_mm, 1), (lips_mm2, 2))):
            raise ValueError("a value for each name is missing")
    except (KeyError, TypeError, ValueError) as error:
        keys = "names, rest, gap_mm, gap_neutral_mm, lips_mm2"
        raise InputError(f"{folder / FILE}: not the controls of a face ({error}); allowed: {keys}") from None
    return controls
