"""Coloured triangles as pictures, by the software renderer of Panda3D: it needs no display and no GPU."""

from functools import cache

import numpy as np
from panda3d import core as panda
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
        """Makes room for pictures of (F, 3) triangles of `n_vertices`; `InputError` where the renderer cannot start."""
        self.shape = (OVERSAMPLING * height, OVERSAMPLING * width)
        self._vertices = np.zeros(n_vertices, [("position", "<f4", 3), ("colour", "u1", 4)])
        self._vertices["colour"] = 255
        self._engine = panda.GraphicsEngine()
        properties = panda.FrameBufferProperties()
        properties.setRgbaBits(8, 8, 8, 8)
        properties.setDepthBits(24)
        size = panda.WindowProperties.size(self.shape[1], self.shape[0])
        self._buffer = self._engine.makeOutput(_pipe(), "canvas", 0, properties, size, panda.GraphicsPipe.BFRefuseWindow)
        self._buffer.setClearColor((0, 0, 0, 0))
        self._picture = panda.Texture()
        self._buffer.addRenderTexture(self._picture, panda.GraphicsOutput.RTMCopyRam)
        self._geometry = _geometry(corners, n_vertices)
        root = panda.NodePath("root")
        root.attachNewNode(self._geometry).setAttrib(panda.CullFaceAttrib.make(panda.CullFaceAttrib.MCullClockwise))
        lens = panda.MatrixLens()
        lens.setUserMat(panda.LMatrix4f.identMat())
        self._buffer.makeDisplayRegion().setCamera(root.attachNewNode(panda.Camera("camera", lens)))

    def draw(self, clip: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """(V, 3) positions in -1..1, right, up and away, and (V, 3) uint8 sRGB -> (height, width, 4) uint8 RGBA, else clear."""
        # The renderer interpolates in integers, which start again at 0 after 255.
        self._vertices["position"], self._vertices["colour"][:, :3] = clip, np.minimum(colours, 254)
        self._geometry.modifyGeom(0).modifyVertexData().modifyArray(0).modifyHandle().copyDataFrom(self._vertices.tobytes())
        self._engine.renderFrame()
        samples = Image.frombuffer("RGBA", self.shape[::-1], self._picture.getRamImage(), "raw", "BGRA", 0, -1)
        return np.array(samples.reduce(OVERSAMPLING))  # weighted by alpha: edges keep the colour of the face


@cache
def _pipe() -> panda.GraphicsPipe:
    """The renderer, started once per process, which cannot without libX11, although it opens no window."""
    panda.loadPrcFileData("", SETTINGS)
    pipe = panda.GraphicsPipeSelection.getGlobalPtr().makeModulePipe("p3tinydisplay")
    if pipe is None:
        raise InputError("drawing faces: the renderer needs libX11; expected where it is, `apt install libx11-6` say")
    return pipe


def _geometry(corners: np.ndarray, n_vertices: int) -> panda.GeomNode:
    data = panda.GeomVertexData("vertices", panda.GeomVertexFormat.getV3c4(), panda.GeomEnums.UHDynamic)
    data.setNumRows(n_vertices)
    triangles = panda.GeomTriangles(panda.GeomEnums.UHStatic)
    triangles.setIndexType(panda.GeomEnums.NTUint32)
    indices = triangles.modifyVertices()
    indices.setNumRows(corners.size)
    indices.modifyHandle().copyDataFrom(np.ascontiguousarray(corners, "<u4").tobytes())
    geometry = panda.Geom(data)
    geometry.addPrimitive(triangles)
    node = panda.GeomNode("face")
    node.addGeom(geometry)
    return node
