"""All formats by name: which file is of which, reading any of them, and converting one to another."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.formats import curve_files, gltf, live_link
from facedistill.formats.animation import Animation, check_fps, regular
from facedistill.formats.json_csv import parse_json, read_header, reading
from facedistill.formats.times import Rows, animation_of


@dataclass(frozen=True)
class Kind:
    """One file format."""

    suffix: str  # of its files, with the dot
    read: Callable[[Path], Rows]  # of the rows as they stand; raises what `reading` expects
    write: Callable[..., None]  # of a path and an animation, glb's also of face=; InputError if the format cannot hold that
    what: str  # its files are, in an error


A2F_CSV = f"an Audio2Face CSV of {curve_files.NIM_TIME_COLUMN} and {curve_files.NIM_PREFIX}<name> columns"
A2F_JSON = "an Audio2Face JSON of facsNames and weightMat, or of blendshape_names and frames"
OWN_JSON = f"a JSON of the format {curve_files.FORMAT!r}, version {curve_files.VERSION}"
KINDS = {
    "livelink": Kind(".csv", live_link.read, live_link.write, "a Live Link Face CSV"),
    "a2f": Kind(".json", curve_files.read_a2f, curve_files.write_a2f, A2F_JSON),
    "a2f-csv": Kind(".csv", curve_files.read_nim_csv, curve_files.write_nim_csv, A2F_CSV),
    "beat": Kind(".json", curve_files.read_beat, curve_files.write_beat, "a BEAT JSON of names and frames"),
    "csv": Kind(".csv", curve_files.read_csv, curve_files.write_csv, "a CSV of time_s and one column per curve"),
    "json": Kind(".json", curve_files.read_json, curve_files.write_json, OWN_JSON),
    "npz": Kind(".npz", curve_files.read_npz, curve_files.write_npz, "an NPZ of names, weights, times_s and fps"),
    "glb": Kind(".glb", gltf.read, gltf.write, "a glTF 2.0 file with an animation of named morph targets"),
}
BY_SUFFIX = {".csv": "csv", ".json": "json", ".npz": "npz", ".glb": "glb"}  # what a file is written as, unless told otherwise


def read(path: Path, *, kind: str | None = None, fps: float | None = None, at_fps: float | None = None) -> Animation:
    """Reads curves of a kind of KINDS, told from suffix and content if None; InputError where the file holds none.

    Frame t is at t / `fps` if that is given, whatever the file says of its times; only `at_fps`, if given, resamples.
    """
    path = Path(path)
    try:
        for rate in (fps, at_fps):
            if rate is not None:
                check_fps(rate)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    found = KINDS[sniff(path) if kind is None else _known(kind)]
    with reading(path, found.what):
        rows = found.read(path)
        animation = regular(rows.names, rows.weights, fps) if fps else animation_of(path, rows)
    try:
        return animation if at_fps is None else animation.at(at_fps)
    except (ValueError, MemoryError) as error:
        raise InputError(f"{path}: cannot be resampled ({error})") from None


def write(path: Path, animation: Animation, *, kind: str | None = None, face: Path | None = None) -> None:
    """Writes curves to a file, atomically, without loss (glb: as float32); InputError where that cannot be.

    The kind is one of KINDS, or that of the suffix if None: csv, json, npz or glb, which may have a face other than the built-in.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    kind = BY_SUFFIX.get(suffix) if kind is None else _known(kind)
    if kind is None or KINDS[kind].suffix != suffix:
        allowed = ", ".join(sorted(BY_SUFFIX)) if kind is None else KINDS[kind].suffix
        raise InputError(f"{path}: the suffix {path.suffix!r} is not one to write {kind or 'curves'} to; expected {allowed}")
    if face is not None and kind != "glb":
        raise InputError(f"{path}: a face cannot go into {kind}; expected glb")
    try:
        KINDS[kind].write(path, animation, **({} if face is None else {"face": Path(face)}))
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); expected a place for a file") from None
    except MemoryError:
        raise InputError(f"{path}: there is not enough memory to write it; expected fewer curves or frames") from None


def convert(
    source: Path, target: Path, *, source_kind: str | None = None, kind: str | None = None,
    fps: float | None = None, at_fps: float | None = None, face: Path | None = None,
) -> None:  # fmt: skip
    """Reads one file and writes it as another; see `read` and `write`."""
    write(target, read(source, kind=source_kind, fps=fps, at_fps=at_fps), kind=kind, face=face)


def sniff(path: Path) -> str:
    """The kind of a file, from its suffix, the header of a CSV and the keys of a JSON; InputError if it is none of KINDS."""
    suffix = path.suffix.lower()
    if suffix not in {*BY_SUFFIX, ".gltf"}:
        raise InputError(f"{path}: no file of curves ends in {path.suffix!r}; expected {', '.join(sorted(BY_SUFFIX))}, .gltf")
    with reading(path, f"a {suffix} file of curves"):
        if suffix == ".csv":
            header = read_header(path)
            if live_link.is_header(header):
                return "livelink"
            for column, kind in ((curve_files.NIM_TIME_COLUMN, "a2f-csv"), (curve_files.TIME_COLUMN, "csv")):
                if column in header[:2]:
                    return kind
            raise ValueError(f"its columns begin with {header[:2]}; expected Timecode and BlendshapeCount, timeCode, or time_s")
        return _json_kind(parse_json(path.read_bytes())) if suffix == ".json" else BY_SUFFIX.get(suffix, "glb")


def _json_kind(content: dict) -> str:
    if content.get("format") == curve_files.FORMAT:
        return "json"
    for keys, kind in (({"facsNames"}, "a2f"), ({"blendshape_names"}, "a2f"), ({"names", "frames"}, "beat")):
        if keys <= content.keys():
            return kind
    raise ValueError(f"its keys are {list(content)[:5]}; expected format, facsNames, blendshape_names, or names and frames")


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise InputError(f"{kind!r} is no file format; expected {', '.join(KINDS)}")
    return kind
