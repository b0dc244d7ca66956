"""Coloured triangles as pictures, by the software renderer of Panda3D: it needs no display and no GPU."""

from functools import cache

import numpy as np
from panda3d.core import (
    Camera,
    CullFaceAttrib,
    FrameBufferProperties,
    Geom,
    GeomEnums,
    GeomNode,
    GeomTriangles,
    GeomVertexData,
    GeomVertexFormat,
    GraphicsEngine,
    GraphicsOutput,
    GraphicsPipe,
    GraphicsPipeSelection,
    LMatrix4f,
    MatrixLens,
    NodePath,
    Texture,
    WindowProperties,
    loadPrcFileData,
)
from PIL import Image

from facedistill.core.errors import InputError

SETTINGS = """
load-display p3tinydisplay
window-type offscreen
audio-library-name null
notify-level fatal
"""
OVERSAMPLING = 2  # picture samples per pixel and axis: edges come out smooth


class Canvas:
    """Draws coloured triangles; one for each size of picture and each number of vertices."""

    def __init__(self, width: int, height: int, corners: np.ndarray, n_vertices: int) -> None:
        """Makes room for pictures of (F, 3) triangles of `n_vertices`.

        Raises:
            InputError: see `_pipe`.
        """
        self.shape = (OVERSAMPLING * height, OVERSAMPLING * width)
        self._vertices = np.zeros(n_vertices, [("position", "<f4", 3), ("colour", "u1", 4)])
        self._vertices["colour"] = 255
        self._engine = GraphicsEngine()
        properties = FrameBufferProperties()
        properties.setRgbaBits(8, 8, 8, 8)
        properties.setDepthBits(24)
        size = WindowProperties.size(self.shape[1], self.shape[0])
        self._buffer = self._engine.makeOutput(_pipe(), "canvas", 0, properties, size, GraphicsPipe.BFRefuseWindow)
        self._buffer.setClearColor((0, 0, 0, 0))
        self._picture = Texture()
        self._buffer.addRenderTexture(self._picture, GraphicsOutput.RTMCopyRam)
        self._geometry = _geometry(corners, n_vertices)
        root = NodePath("root")
        root.attachNewNode(self._geometry).setAttrib(CullFaceAttrib.make(CullFaceAttrib.MCullClockwise))
        camera = Camera("camera")
        lens = MatrixLens()
        lens.setUserMat(LMatrix4f.identMat())
        camera.setLens(lens)
        self._buffer.makeDisplayRegion().setCamera(root.attachNewNode(camera))

    def draw(self, clip: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Draws one picture.

        Args:
            clip: (V, 3) positions in -1..1: right, up, and away from the eye.
            colours: (V, 3) sRGB, uint8.

        Returns:
            (height, width, 4) uint8 RGBA, transparent where nothing is.
        """
        self._vertices["position"], self._vertices["colour"][:, :3] = clip, colours
        self._geometry.modifyGeom(0).modifyVertexData().modifyArray(0).modifyHandle().copyDataFrom(self._vertices.tobytes())
        self._engine.renderFrame()
        samples = Image.frombuffer("RGBA", self.shape[::-1], self._picture.getRamImage(), "raw", "BGRA", 0, -1)
        return np.array(samples.reduce(OVERSAMPLING))  # weighted by alpha: edges keep the colour of the face


@cache
def _pipe() -> GraphicsPipe:
    """The renderer, started once per process.

    Raises:
        InputError: it cannot start without libX11, although it opens no window.
    """
    loadPrcFileData("", SETTINGS)
    pipe = GraphicsPipeSelection.getGlobalPtr().makeModulePipe("p3tinydisplay")
    if pipe is None:
        raise InputError("drawing faces: the renderer needs libX11; expected where it is, `apt install libx11-6` say")
    return pipe


def _geometry(corners: np.ndarray, n_vertices: int) -> GeomNode:
    data = GeomVertexData("vertices", GeomVertexFormat.getV3c4(), GeomEnums.UHDynamic)
    data.setNumRows(n_vertices)
    triangles = GeomTriangles(GeomEnums.UHStatic)
    triangles.setIndexType(GeomEnums.NTUint32)
    indices = triangles.modifyVertices()
    indices.setNumRows(corners.size)
    indices.modifyHandle().copyDataFrom(np.ascontiguousarray(corners, "<u4").tobytes())
    geometry = Geom(data)
    geometry.addPrimitive(triangles)
    node = GeomNode("face")
    node.addGeom(geometry)
    return node
