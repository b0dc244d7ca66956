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
    """

    names: tuple[str, ...]
    rest: np.ndarray
    gap_mm: np.ndarray | None = None
    gap_neutral_mm: float = 0.0

    @property
    def are_arkit(self) -> bool:
        """Whether these are blendshape weights from 0 to 1, below which nothing is seen."""
        return self.names == CURVES


@cache
def arkit() -> Controls:
    """The 52 curves on the built-in head."""
    return Controls(CURVES, np.zeros(N_CURVES, np.float32), head().gap_mm, head().gap_neutral_mm)


def write_controls(folder: Path, controls: Controls) -> None:
    """Writes controls.json; nothing for ARKit's."""
    if controls.are_arkit:
        return
    gap_mm = None if controls.gap_mm is None else controls.gap_mm.tolist()
    content = {"names": list(controls.names), "rest": controls.rest.tolist(), "gap_mm": gap_mm}
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
        gap_mm = None if found["gap_mm"] is None else np.array(found["gap_mm"], np.float32)
        controls = Controls(tuple(found["names"]), rest, gap_mm, float(found["gap_neutral_mm"]))
        if any(array is not None and array.shape != (len(controls.names),) for array in (rest, gap_mm)):
            raise ValueError("a value for each name is missing")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{folder / FILE}: not the controls of a face ({error}); allowed: names, rest, gap_mm") from None
    return controls
