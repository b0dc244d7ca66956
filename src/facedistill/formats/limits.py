"""What files may unfold to: far beyond real takes and heads, and so little that no small file takes all memory, or minutes.

A file that has bytes for all that it holds may be as large as memory allows; these are for what it holds without.
"""

from facedistill.face.arkit import N_CURVES

# Takes
MAX_CURVES = 10_000  # of a take, and morph targets of a mesh: ARKit has 52, rigs of films have hundreds
MAX_FRAMES = 2_000_000  # that a take is resampled to, or unpacked to from fewer bytes: nine hours at 60 fps
TAKE_NUMBERS = 2**25  # that anything may unfold to: three hours of 52 curves at 60 fps, 256 MB
MAX_GROWTH = 32  # times its own numbers that a take may grow by otherwise: one frame a second to 30 fps
MAX_RATIO = 100  # of an archive that unpacks to more than TAKE_NUMBERS; real curves pack to a tenth at best

# Heads
HEAD_NUMBERS = 2**26  # that accessors may hold all together, unless there are as many bytes: 52 shapes of 400,000 vertices
MAX_VERTICES, MAX_TRIANGLES = 1_000_000, 3_000_000  # closed surfaces have two triangles a vertex
MAX_MESHES, MAX_PRIMITIVES = 1_000, 4_000  # nodes with meshes in the scene, and what those draw
MAX_WEIGHTS = 2**24  # of joints: 1,000,000 vertices with 16 each
MAX_TARGETS = 2**16  # of all primitives that are drawn: 1,260 primitives of 52
MAX_SCENE_NODES = 20_000  # bodies with all their joints have about a thousand
MAX_PIXELS, MAX_ALL_PIXELS = 64_000_000, 2**28  # of a texture; of all: 16 of 4096 x 4096

# Animated meshes
MAX_MOVED, MAX_MOVED_TARGETS = 100, 20_000  # nodes with morph targets, and the targets of all of them


def most_grown(n_frames: int, n_curves: int) -> int:
    """How many numbers a take may become, in which a face has all its curves in the end."""
    return max(TAKE_NUMBERS, MAX_GROWTH * n_frames * max(n_curves, N_CURVES))
