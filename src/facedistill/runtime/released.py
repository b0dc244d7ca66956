"""Released models: where they lie, and what a model's name means: a released one, always; all others are named by their path."""

import hashlib
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.core.paths import DATA, PACKAGE, ROOT

# A checkout has them in models/, editable and with PYTHONPATH too; a wheel carries them inside the package, see setup.py.
RELEASED = PACKAGE / "released" if (PACKAGE / "released").is_dir() else ROOT / "models"
WINDOW_SUFFIX = "-window"
CHECKSUMS = "checksums"  # the file beside them that tells what was released, as `sha256sum -c` reads it


def find_model(model: str, *, windows: bool = False) -> Path:
    """The file of a model, by a name of `released_models` or else by its path; InputError if it is neither."""
    released = released_models(windows=windows)
    if model in released:
        return released[model]
    if model and Path(model).is_file():
        return Path(model)
    none = "none is released here: name a file, or run `make repro` in a checkout and name one of data/export"
    allowed = ", ".join(released) or none
    exported = {path.stem: path for path in (DATA / "export").glob("*/*.onnx")}
    hint = f"; exported, so named by its path: {exported[model]}" if model in exported else ""
    raise InputError(f"model {model!r}: neither the file of one nor one of: {allowed}{hint}")


def released_models(*, windows: bool = False) -> dict[str, Path]:
    """{name: file} of all released models, the names those of the files without suffix; of window graphs too if so wanted."""
    paths = sorted(RELEASED.glob("*/*.onnx"))
    found = {path.stem: path for path in paths if windows or not path.stem.endswith(WINDOW_SUFFIX)}
    for path in list(found.values()):  # where float32 is too large to be released, `real-time` say means float16
        found.setdefault(path.stem.replace("-float16", ""), path)
    return found


def check_released(path: Path, content: bytes) -> None:
    """Raises InputError if a model lies among the released ones and is not one of them; elsewhere any is right."""
    place, checksums = path.resolve(), RELEASED.resolve() / CHECKSUMS
    if not place.is_relative_to(checksums.parent) or not checksums.is_file():
        return
    lines = checksums.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    digest = listed.get(place.relative_to(checksums.parent).as_posix())
    if digest is None:
        raise InputError(f"{path}: was not released, since {checksums} does not list it; expected models of your own elsewhere")
    if digest != hashlib.sha256(content).hexdigest():
        anew = "`git checkout models` in a clone, or install facedistill again"
        raise InputError(f"{path}: broken, since its SHA-256 is not that of {checksums}; expected what was released: {anew}")
