"""Live Link Face over UDP, as Unreal reads it: one packet a frame, curves in Apple's order and nine rotations."""

import struct
import uuid
from collections.abc import Sequence

import numpy as np

from facedistill.face.arkit import CURVES

VERSION = 6
N_ROTATIONS = 9  # of the head and both eyes: all 0
N_VALUES = len(CURVES) + N_ROTATIONS


class PacketWriter:
    """Packets of one subject."""

    def __init__(self, subject: str, *, fps: int, names: Sequence[str]) -> None:
        """Prepares what all packets share.

        Args:
            subject: the name that Unreal shows.
            fps: frames a second.
            names: of the curves, in any order.
        """
        name = subject.encode()
        device = f"${uuid.uuid5(uuid.NAMESPACE_DNS, f'{subject}.facedistill')}".encode()  # the same whenever it comes back
        self._head = struct.pack("<I", VERSION) + device + struct.pack(">i", len(name)) + name
        self._fps = fps
        index = {curve: number for number, curve in enumerate(names)}
        self._columns = [index.get(curve) for curve in CURVES]

    def packet(self, frame: int, weights: np.ndarray) -> bytes:
        """One frame.

        Args:
            frame: its number, counted from midnight for a timecode of the day.
            weights: (K,) in the order of `names`.
        """
        values = [0.0 if column is None else float(weights[column]) for column in self._columns] + [0.0] * N_ROTATIONS
        return self._head + struct.pack(f">ifiiB{N_VALUES}f", frame, 0.0, self._fps, 1, N_VALUES, *values)
