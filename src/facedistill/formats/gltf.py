"""Morph animations in glTF 2.0: written as GLB onto a face that names ARKit's shapes, and read from GLB and glTF."""

import struct
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path
from facedistill.core.paths import HEAD
from facedistill.formats.animation import MAX_CURVES, Animation, canonical, most_grown, regular
from facedistill.formats.glb import DATA_URI, Gltf, load
from facedistill.formats.grids import float32_rounding_of
from facedistill.formats.json_csv import field, matrix, reading
from facedistill.formats.times import Recorded, Rows
from facedistill.rig.arkit import CURVES, N_CURVES

FACE = "a face to animate: a self-contained .glb with mesh.extras.targetNames"
NAME = "facedistill"  # of the animation and of its extras
DEFAULT_FPS = 30.0  # of a single key
MAX_MOVED, MAX_MOVED_TARGETS = 100, 20_000  # nodes with morph targets, and the targets of all of them
MAX_FLOAT = 3e38  # float32's is 3.4e38
POINTER = "KHR_animation_pointer"
VALUES_PER_KEY = {"LINEAR": 1, "STEP": 1, "CUBICSPLINE": 3}  # in-tangent, value, out-tangent


def write(path: Path, animation: Animation, face: Path | None = None) -> None:
    """Writes a face with its animation, as float32: every node whose mesh has targets of the animation gets a channel.

    Those without a curve stay at their default weight, and all else as it is. The face is a GLB that names ARKit's shapes in any
    spelling in `mesh.extras.targetNames`; None is the built-in head. InputError where it is not such a GLB, refers to other files
    or shows no curve; float32 cannot hold the weights, or the times ascending from 0 s on; or the file would be beyond 4 GiB.
    """
    if np.abs(animation.weights).max() > MAX_FLOAT or animation.times_s[-1] > MAX_FLOAT:
        raise InputError(f"{path}: a weight or a time is too great for glTF; expected up to {MAX_FLOAT:g}")
    times_s = animation.times_s.astype(np.float32)
    if times_s[0] < 0 or (times_s[1:] <= times_s[:-1]).any():
        raise InputError(f"{path}: times do not ascend as float32; expected from 0 s on, or resample with an explicit frame rate")
    with reading(face or HEAD, FACE):
        try:
            data = _animate(_self_contained(load(face or HEAD)), face or path, animation).to_bytes()
        except struct.error:
            raise InputError(f"{path}: would have more bytes than a GLB can count; expected up to 4 GiB: fewer frames") from None
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_face(face: Path) -> None:
    """Raises InputError unless `write` can animate a face."""
    with reading(face, FACE):
        _animate(_self_contained(load(face)), face, regular(CURVES, np.zeros((1, N_CURVES)), DEFAULT_FPS))


def read(path: Path) -> Rows:
    """Reads the first animation of morph targets of a .glb or .gltf; keys of any interpolation as they stand."""
    gltf = load(path)
    stored, channels = _weight_channels(gltf)
    times_s, curves = _merge(gltf, stored, channels)
    extras, rate = field(stored, "extras", dict, {}).get(NAME), None
    if extras is not None:
        curves, rate = _with_extras(curves, extras, len(times_s)), field(extras, "fps", float)
    weights = np.stack(list(curves.values()), axis=1)
    recorded = partial(Recorded, times_s, DEFAULT_FPS, fps=rate, rounding_s=float32_rounding_of(times_s))
    return Rows(tuple(curves), weights, recorded)


def target_names(gltf: Gltf, mesh_index: object) -> list[str]:
    """Names of a mesh's morph targets, made `canonical`; none where it has no names. ValueError unless they are as many."""
    mesh = gltf.item("meshes", mesh_index)
    names = field(field(mesh, "extras", dict, {}), "targetNames", list, [])
    n_targets = count_targets(mesh)
    if names and len(names) != n_targets or n_targets > MAX_CURVES or not all(isinstance(name, str) for name in names):
        found = f"meshes[{mesh_index}] has {len(names)} targetNames for {n_targets} targets"
        raise ValueError(f"{found}; expected a text for each, and up to {MAX_CURVES}")
    return [canonical(name) for name in names]


def count_targets(mesh: dict) -> int:
    """How many morph targets each primitive of a mesh has: the same number, by glTF, so the first one's is read."""
    return len(field((field(mesh, "primitives", list) or [{}])[0], "targets", list, []))


def default_weights(gltf: Gltf, node: dict, n_targets: int) -> np.ndarray:
    """(n_targets,) weights of a node with a mesh where nothing animates it: the node's own, its mesh's, or 0."""
    mesh_weights = field(gltf.item("meshes", node["mesh"]), "weights", list, [0.0] * n_targets)
    return matrix([field(node, "weights", list, mesh_weights)], n_targets, "default weights, row")[0]


def _self_contained(gltf: Gltf) -> Gltf:
    buffers = gltf.content["buffers"] = field(gltf.content, "buffers", list, []) or [{}]
    first = gltf.item("buffers", 0)
    if "uri" in first or field(first, "byteLength", int, 0) > len(gltf.binary):
        raise ValueError("its first buffer is not its BIN chunk")
    for item in [*buffers, *field(gltf.content, "images", list, [])]:
        uri = field(item, "uri", str, DATA_URI)
        if not uri.startswith(DATA_URI):
            raise ValueError(f"it refers to {uri[:80]!r}")
    return gltf


def _animate(gltf: Gltf, face: Path, animation: Animation) -> Gltf:
    """Adds an animation to a face."""
    columns, n_frames = dict(zip(animation.names, animation.weights.T, strict=True)), len(animation.times_s)
    nodes = _named_nodes(gltf)
    moved = [(node, names, rest) for node, names, rest in nodes if not columns.keys().isdisjoint(names)]
    if not moved:
        found = _some([name for _, names, _ in nodes for name in names])
        raise InputError(f"{face}: its morph targets are {found}; expected mesh.extras.targetNames with {_some(animation.names)}")
    n_numbers, most = n_frames * sum(len(names) for _, names, _ in moved), most_grown(*animation.weights.shape)
    if n_numbers > most:
        raise ValueError(f"its targets would hold {n_numbers} weights of {n_frames} frames; expected up to {most}")
    keys = gltf.append(animation.times_s.astype(np.float32), bounds=True)
    samplers, channels = [], []
    for number, (node, names, rest) in enumerate(moved):
        shown = [columns.get(name, np.full(n_frames, weight)) for name, weight in zip(names, rest, strict=True)]
        values = np.stack(shown, axis=1, dtype=np.float32, casting="same_kind")
        channels.append({"sampler": number, "target": {"node": node, "path": "weights"}})
        samplers.append({"input": keys, "output": gltf.append(values.ravel()), "interpolation": "LINEAR"})  # frame by frame
    shown_names = {name for _, names, _ in moved for name in names}
    others = [name for name in animation.names if name not in shown_names]
    # What glTF has no place for: the frame rate, the names in their order, and the curves that no target shows, with all digits.
    extras = {"fps": animation.fps, "names": list(animation.names)}
    if others:  # as numbers: tools that renumber accessors do not know of any in the extras
        extras |= {"otherNames": others, "otherWeights": animation.select(others).tolist()}
    stored = {"name": NAME, "channels": channels, "samplers": samplers, "extras": {NAME: extras}}
    gltf.content["animations"] = [stored, *field(gltf.content, "animations", list, [])]
    return gltf


def _named_nodes(gltf: Gltf) -> list[tuple[int, list[str], list[float]]]:
    """Nodes with named morph targets: (index, names, default weights)."""
    found = []
    for index in range(len(field(gltf.content, "nodes", list, []))):
        node = gltf.item("nodes", index)
        names = target_names(gltf, node["mesh"]) if "mesh" in node else []
        if names:
            rest = np.clip(default_weights(gltf, node, len(names)), -MAX_FLOAT, MAX_FLOAT)
            found.append((index, names, rest.tolist()))
            if len(found) > MAX_MOVED:
                raise ValueError(f"more than {MAX_MOVED} nodes have morph targets; expected one face")
            _check_moved(sum(len(names) for _, names, _ in found))
    return found


def _weight_channels(gltf: Gltf) -> tuple[dict, list[dict]]:
    """The first animation with channels of weights, and those."""
    for index in range(len(field(gltf.content, "animations", list, []))):
        stored = gltf.item("animations", index)
        channels = field(stored, "channels", list)
        for channel in channels:
            extensions = field(field(channel, "target", dict), "extensions", dict, {})
            if "/weights" in field(field(extensions, POINTER, dict, {}), "pointer", str, ""):
                raise ValueError(f"animations[{index}] moves weights by {POINTER}; expected channels of the path 'weights'")
        channels = [channel for channel in channels if channel["target"].get("path") == "weights"]
        if len(channels) > MAX_MOVED:
            raise ValueError(f"animations[{index}] moves {len(channels)} nodes; expected up to {MAX_MOVED}")
        if channels:
            return stored, channels
    raise ValueError("it has no animation of morph targets")


def _merge(gltf: Gltf, stored: dict, channels: list[dict]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times (T,), and the curves (T,) of all channels under their names."""
    samplers, first_s, curves, n_targets = Gltf({"samplers": field(stored, "samplers", list)}), None, {}, 0
    for channel in channels:
        mesh_index = field(gltf.item("nodes", field(channel["target"], "node", int)), "mesh", int)
        names = target_names(gltf, mesh_index)
        if not names:
            raise ValueError(f"meshes[{mesh_index}] moves and has no extras.targetNames")
        n_targets += len(names)
        _check_moved(n_targets)
        times_s, weights = _keys(gltf, samplers.item("samplers", field(channel, "sampler", int)), len(names))
        first_s = times_s if first_s is None else first_s
        if not np.array_equal(times_s, first_s):
            raise ValueError("its meshes have keys at different times; expected the same times, as baking makes them")
        for name, curve in zip(names, weights.T, strict=True):
            if not np.allclose(curve, curves.setdefault(name, curve), rtol=0, atol=1e-6):
                raise ValueError(f"two of its meshes move {name[:40]!r} differently; expected one motion a name")
    return first_s, curves


def _check_moved(n_targets: int) -> None:
    if n_targets > MAX_MOVED_TARGETS:
        raise ValueError(f"its nodes have more than {MAX_MOVED_TARGETS} morph targets together; expected one face")


def _keys(gltf: Gltf, sampler: dict, n_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """Times (T,) and weights (T, n_targets) of a sampler."""
    n_values = VALUES_PER_KEY.get(field(sampler, "interpolation", str, "LINEAR"), 0)
    keys = field(sampler, "input", int)
    if gltf.count(keys) > 1 and "bufferView" not in gltf.item("accessors", keys):
        raise ValueError(f"accessors[{keys}] holds keys without bytes; expected ascending times")
    times_s, values = gltf.accessor(keys), gltf.accessor(field(sampler, "output", int))
    if times_s.ndim + values.ndim > 2:
        raise ValueError("its keys or its weights are vectors; allowed in an animation of weights: SCALAR numbers")
    if not n_values or len(values) != n_values * n_targets * len(times_s):
        found = f"{len(values)} values for {len(times_s)} keys of {n_targets} targets"
        raise ValueError(f"{found}; expected as many as {', '.join(VALUES_PER_KEY)} have")
    return times_s, values.reshape(len(times_s), n_values, n_targets)[:, n_values // 2]


def _with_extras(curves: dict[str, np.ndarray], extras: object, n_keys: int) -> dict[str, np.ndarray]:
    """The curves (T,) that were written, in their order: those that nothing shows are in the extras."""
    names, others = field(extras, "names", list), field(extras, "otherNames", list, [])
    hidden = matrix(field(extras, "otherWeights", list, [[]] * n_keys), len(others), "otherWeights, row")
    if not names or not all(isinstance(name, str) for name in names + others) or len(hidden) != n_keys:
        raise ValueError(f"its {NAME} extras do not fit its {n_keys} keys")
    known = curves | dict(zip(others, hidden.T, strict=True))
    if not known.keys() >= set(names):
        raise ValueError(f"its {NAME} extras name curves that nothing moves")
    return {name: known[name] for name in names}


def _some(names: Sequence[str]) -> str:
    return (", ".join(repr(name[:40]) for name in names[:5]) or "none") + (", ..." if len(names) > 5 else "")
