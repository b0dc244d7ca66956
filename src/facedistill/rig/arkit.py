"""The ARKit 52 blendshapes: names in Apple's order, and look-ups by name. Curves always travel with their names."""

from collections.abc import Mapping

import numpy as np

CURVES = (
    "eyeBlinkLeft", "eyeLookDownLeft", "eyeLookInLeft", "eyeLookOutLeft", "eyeLookUpLeft", "eyeSquintLeft", "eyeWideLeft",
    "eyeBlinkRight", "eyeLookDownRight", "eyeLookInRight", "eyeLookOutRight", "eyeLookUpRight", "eyeSquintRight", "eyeWideRight",
    "jawForward", "jawLeft", "jawRight", "jawOpen",
    "mouthClose", "mouthFunnel", "mouthPucker", "mouthLeft", "mouthRight",
    "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft", "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
INDEX = {name: index for index, name in enumerate(CURVES)}
N_CURVES = len(CURVES)  # K
MOUTH_CURVES = tuple(name for name in CURVES if name.startswith(("jaw", "mouth", "tongue")))


def columns(name: str) -> list[int]:
    """Where a curve is among all, or both sides of one that is named without its side."""
    return [INDEX[name]] if name in INDEX else [INDEX[f"{name}Left"], INDEX[f"{name}Right"]]


def weights_of(curves: Mapping[str, np.ndarray]) -> np.ndarray:
    """{name: (...), see `columns`} -> (..., K) float32 in [0, 1]; curves without a name are 0."""
    weights = np.zeros((*next(iter(curves.values())).shape, N_CURVES), np.float32)
    for name, values in curves.items():
        weights[..., columns(name)] = values[..., None]
    return np.clip(weights, 0, 1, out=weights)
