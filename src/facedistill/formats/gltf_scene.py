"""Where a glTF scene puts the vertices of its meshes: by its nodes, or by the joints of a skin."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.sparse import coo_array
from scipy.spatial.transform import Rotation

from facedistill.formats.glb import Gltf
from facedistill.formats.parsing import field, matrix

JOINTS_PER_SET, MAX_SETS = 4, 8  # of JOINTS_n and WEIGHTS_n; more than any exporter writes
MAX_SCENE_NODES = 20_000  # bodies with all their joints have about a thousand
ROUNDING, UNIT_ROUNDING = 1e-3, 1e-2  # of a matrix's last row; of the length of a rotation
MAX_SUM_ERROR = 0.05  # of a vertex's weights; each may be rounded to 1 / 255
PLACING = ("EXT_mesh_gpu_instancing", "KHR_node_visibility")  # of a node; what else is in its extensions moves no vertex


@dataclass(frozen=True, eq=False)
class PlacedMesh:
    """A node of the scene that has a mesh.

    Attributes:
        node: its JSON.
        matrices: (J, 3, 4) from the mesh to the scene: of each joint of its skin, or the one of a node without a skin.
    """

    node: dict
    matrices: np.ndarray


def placed_meshes(gltf: Gltf) -> Iterator[PlacedMesh]:
    """The meshes of the scene, parents before children; a node with a skin is placed by its joints alone.

    Raises:
        ValueError: a node is there twice, is shown or placed by an extension, or has a skin with joints outside the scene.
    """
    places = _places(gltf)
    of_skin = cache(lambda skin: _joint_matrices(gltf, skin, places))
    for index, place in places.items():
        node = gltf.item("nodes", index)
        if "mesh" in node:
            skin = field(node, "skin", int, None)
            yield PlacedMesh(node, place[None, :3] if skin is None else of_skin(skin))


def joint_sets(placed: PlacedMesh, attributes: dict) -> list[str]:
    """The n of JOINTS_n and WEIGHTS_n that move a primitive; none without a skin. ValueError beyond what exporters write."""
    if field(placed.node, "skin", int, None) is None:
        return []
    sets = sorted({name.partition("_")[2] for name in attributes if name.startswith(("JOINTS_", "WEIGHTS_"))} or {"0"})
    if len(sets) > MAX_SETS:
        raise ValueError(f"{len(sets)} sets of joints; expected up to {MAX_SETS}")
    return sets


def vertex_matrices(gltf: Gltf, placed: PlacedMesh, attributes: dict, count: int) -> tuple[np.ndarray, int]:
    """From the mesh to the scene for each vertex of a primitive.

    Weights are divided by their sum, which the standard wants to be 1; where all are 0, the first joint has all, as in three.js.

    Args:
        attributes: of the primitive.

    Returns:
        (count, 3, 4), or (1, 3, 4) for all where there is no skin; and how many vertices have weights of another sum.

    Raises:
        ValueError: joints that the skin has not, or weights that are less than 0 or not there.
    """
    sets = joint_sets(placed, attributes)
    if not sets:
        return placed.matrices, 0
    joints = np.hstack([gltf.vectors(attributes, f"JOINTS_{name}", count, JOINTS_PER_SET, whole=True) for name in sets])
    weights = np.hstack([gltf.vectors(attributes, f"WEIGHTS_{name}", count, JOINTS_PER_SET) for name in sets])
    if weights.min() < 0:
        raise ValueError("WEIGHTS_n hold a number below 0; expected 0 to 1")
    sums = weights.sum(axis=1, keepdims=True)
    n_wrong = int((np.abs(sums - 1) > MAX_SUM_ERROR).sum())
    weights = np.where(sums > 0, weights / np.where(sums > 0, sums, 1), np.eye(1, weights.shape[1]))
    joints = np.where(weights > 0, joints, 0)  # those without weight may be anything
    n_joints = len(placed.matrices)
    if joints.min() < 0 or joints.max() >= n_joints:
        raise ValueError(f"JOINTS_n refer to a joint beyond the {n_joints} of skins[{placed.node['skin']}]")
    rows = np.repeat(np.arange(count), joints.shape[1])
    blend = coo_array((weights.ravel(), (rows, joints.ravel())), (count, n_joints)).tocsr()
    return (blend @ placed.matrices.reshape(n_joints, 12)).reshape(count, 3, 4), n_wrong


def _places(gltf: Gltf) -> dict[int, np.ndarray]:
    """{index: (4, 4) to the scene} of all its nodes, parents before children."""
    scene = gltf.item("scenes", field(gltf.content, "scene", int, 0))
    todo, places = [(index, np.eye(4)) for index in reversed(field(scene, "nodes", list, []))], {}
    while todo:
        index, above = todo.pop()
        node = gltf.item("nodes", index)
        if len(places) == MAX_SCENE_NODES:
            raise ValueError(f"more than {MAX_SCENE_NODES} nodes in its scene; expected one face")
        if index in places:
            raise ValueError(f"nodes[{index}] is in two places; expected one")
        for name in field(node, "extensions", dict, {}):
            if name in PLACING:
                raise ValueError(f"nodes[{index}] has {name}, which is not understood; expected a head exported without it")
        places[index] = above @ _transform(node)
        todo += [(child, places[index]) for child in reversed(field(node, "children", list, []))]
    return places


def _joint_matrices(gltf: Gltf, index: int, places: dict[int, np.ndarray]) -> np.ndarray:
    """(J, 3, 4) of a skin's joints: from the mesh to the joint, and from there to the scene."""
    skin = gltf.item("skins", index)
    joints = field(skin, "joints", list)
    if not joints:
        raise ValueError(f"skins[{index}] has no joints")
    for joint in joints:
        if type(joint) is not int or joint not in places:
            raise ValueError(f"skins[{index}] has the joint nodes[{str(joint)[:20]}]; expected nodes of the scene")
    global_places = np.stack([places[joint] for joint in joints])
    if "inverseBindMatrices" not in skin:
        return global_places[:, :3]
    inverse = gltf.accessor(skin["inverseBindMatrices"])
    if inverse.ndim != 2 or inverse.shape[1] != 16 or len(inverse) < len(joints):
        raise ValueError(f"inverseBindMatrices of shape {inverse.shape}; expected a MAT4 for each of {len(joints)} joints")
    return global_places[:, :3] @ _affine(inverse[: len(joints)], f"skins[{index}]")


def _transform(node: dict) -> np.ndarray:
    """(4, 4) of a node, which has a matrix or translation, rotation (x, y, z, w) and scale."""
    if "matrix" in node:
        return _affine(matrix([node["matrix"]], 16, "matrix"), "a node")[0]
    move, turn, size = (
        matrix([field(node, key, list, default)], len(default), key)[0]
        for key, default in (("translation", [0, 0, 0]), ("rotation", [0, 0, 0, 1]), ("scale", [1, 1, 1]))
    )
    if abs(np.linalg.norm(turn) - 1) > UNIT_ROUNDING:
        raise ValueError(f"a rotation of length {np.linalg.norm(turn):.3g}; expected a unit quaternion")
    placed = np.eye(4)
    placed[:3, :3] = Rotation.from_quat(turn).as_matrix() * size
    placed[:3, 3] = move
    return placed


def _affine(columns: np.ndarray, of: str) -> np.ndarray:
    """(n, 4, 4) of (n, 16) matrices, which glTF stores column by column."""
    matrices = columns.reshape(-1, 4, 4).transpose(0, 2, 1).copy()
    last = np.array([0.0, 0.0, 0.0, 1.0])
    if np.abs(matrices[:, 3] - last).max() > ROUNDING:
        raise ValueError(f"{of} has a matrix whose last row is not 0 0 0 1")
    matrices[:, 3] = last
    return matrices
