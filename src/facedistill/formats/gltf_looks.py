"""How the vertices of a glTF mesh look: base colour, by the material, its texture and their own, and roughness."""

import io
import warnings
from collections.abc import Callable

import numpy as np
from PIL import Image

from facedistill.formats.glb import QUANTISED, Gltf
from facedistill.formats.json_csv import field, matrix

MAX_PIXELS, MAX_ALL_PIXELS = 64_000_000, 2**28  # of a texture; of all: 16 of 4096 x 4096
SRGB_GAMMA = 2.2
ROUGH = 1.0
TEXTURE_MOVED = "KHR_texture_transform"


def picture(gltf: Gltf, index: int) -> np.ndarray:
    """(height, width, 3) uint8 of a PNG or JPEG file, the two that glTF knows.

    Raises:
        ValueError: neither, or too many pixels, here or in all pictures of the document together.
    """
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(gltf.image(index)), formats=("PNG", "JPEG")) as opened,
        ):
            gltf.n_pixels += opened.width * opened.height
            if opened.width * opened.height > MAX_PIXELS or gltf.n_pixels > MAX_ALL_PIXELS:
                found = f"{opened.width} x {opened.height}, {gltf.n_pixels} pixels with those before"
                raise ValueError(f"images of {found}; expected up to {MAX_PIXELS}, and {MAX_ALL_PIXELS} in all")
            return np.asarray(opened.convert("RGB"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, SyntaxError, EOFError) as error:
        raise ValueError(f"a texture cannot be read: {error}") from None


def picture_of(gltf: Gltf, material: dict) -> int:
    """The index of the picture that a material has its colours from; -1 without one. ValueError unless it is PNG or JPEG."""
    shown = field(field(material, "pbrMetallicRoughness", dict, {}), "baseColorTexture", dict, None)
    if shown is None:
        return -1
    index = field(shown, "index", int)
    texture = gltf.item("textures", index)
    if "source" not in texture:
        names = ", ".join(field(texture, "extensions", dict, {}))[:80] or "nothing"
        raise ValueError(f"textures[{index}] has its picture by {names}; expected PNG or JPEG: export it so")
    return field(texture, "source", int)


def looks(
    gltf: Gltf, pictures: Callable[[int], np.ndarray], material: dict, attributes: dict, count: int
) -> tuple[np.ndarray, float]:
    """How vertices take light.

    Args:
        pictures: `picture` of the document, by its index.
        material, attributes: of their primitive, which has `count` vertices.

    Returns:
        Linear colours (count, 3) by the material, its texture and the vertices' own; and the roughness.

    Raises:
        ValueError: colours, places on the texture, or the texture are not there or not what they should be.
    """
    surface = field(material, "pbrMetallicRoughness", dict, {})
    colours = np.tile(matrix([field(surface, "baseColorFactor", list, [1, 1, 1, 1])], 4, "baseColorFactor")[0, :3], (count, 1))
    if "COLOR_0" in attributes:
        colours = colours * gltf.vectors(attributes, "COLOR_0", count, 3, 4)[:, :3]
    texture = field(surface, "baseColorTexture", dict, None)
    if texture is not None:
        places, pixels = _on_texture(gltf, texture, attributes, count), pictures(picture_of(gltf, material))
        size = np.array([pixels.shape[1], pixels.shape[0]])
        column, row = ((places % 1) * size).astype(int).clip(0, size - 1).T  # repeated beyond its edges
        colours = colours * (pixels[row, column] / 255) ** SRGB_GAMMA
    return np.clip(colours, 0, 1), float(np.clip(field(surface, "roughnessFactor", float, ROUGH), 0, 1))


def _on_texture(gltf: Gltf, texture: dict, attributes: dict, count: int) -> np.ndarray:
    """(count, 2) places of vertices on a texture, from its upper left corner."""
    moved = field(field(texture, "extensions", dict, {}), TEXTURE_MOVED, dict, {})
    number = field(moved, "texCoord", int, field(texture, "texCoord", int, 0))
    places = gltf.vectors(attributes, f"TEXCOORD_{number}", count, 2, quantised=QUANTISED in gltf.extensions)
    scale, offset = (
        matrix([field(moved, key, list, [start] * 2)], 2, key)[0] for key, start in (("scale", 1.0), ("offset", 0.0))
    )
    angle = field(moved, "rotation", float, 0.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # counter-clockwise, since v points down
    return (scale * places) @ turn.T + offset
