"""The released models: `models/`, made of what the stage `export` wrote, with model cards and checksums.

Nothing is trained, converted or measured here: files are chosen by their size, copied, and checked.
"""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from facedistill.core.errors import InputError
from facedistill.core.files import read_json, sha256, write_json, write_text
from facedistill.core.paths import DATA, RESULTS
from facedistill.deploy.card import Corpus, model_card, real_speech_section
from facedistill.runtime.model import STREAMING, Model, open_session
from facedistill.runtime.released import CHECKSUMS, RELEASED

NAMES = ("on-device", "real-time", "tiny-real-time")
MAX_RELEASED_BYTES = 2_000_000  # of a file in float32 or int8
GROUPS = ("mean", "weighted")  # of the benchmark's sources


def release(exported: Path = DATA / "export", out: Path = RELEASED, *, results: Path = RESULTS) -> None:
    """Writes a folder for each of `NAMES`, `checksums`, which `sha256sum -c` reads, and `results.json`; all of it or nothing.

    Args:
        exported: holds a folder a student, see `export.export`.
        out: takes the place of what is there.
        results: of the benchmark on recordings, which the cards quote; they say so where there are none.
    """
    measured = read_json(results) if results.is_file() else {}
    if not isinstance(measured, dict):
        raise InputError(f"{results}: not what the benchmark on recordings writes; expected a system a key")
    measured = {system: entry for system, entry in measured.items() if isinstance(entry, Mapping)}
    with whole_folder(out) as new:
        hashes = {name: _release_student(exported / name, new / name, measured) for name in NAMES}
        lines = [f"{digest}  {name}/{file}\n" for name, files in hashes.items() for file, digest in files.items()]
        write_text(new / CHECKSUMS, "".join(lines))
        write_json(new / RESULTS.name, _summary(measured, new))
    for name, files in hashes.items():
        print(f"{out / name}: {', '.join(files)}")


def selected(files: Mapping[str, Mapping]) -> dict[str, Mapping]:
    """The files of a student to release: float32, and int8, of at most `MAX_RELEASED_BYTES`; or, for larger ones, float16."""
    small = {name for name, file in files.items() if file["bytes"] <= MAX_RELEASED_BYTES}
    is_large = any(file["precision"] == "float32" and name not in small for name, file in files.items())
    return {
        name: file
        for precision in (("float16",) if is_large else ("float32", "int8"))
        for name, file in files.items()
        if file["precision"] == precision and (is_large or name in small)
    }


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yields an empty sibling that takes the place of `path` in the end; if anything fails, `path` stays as it was.

    What a killed run left is put right by the next: it has the same names every time.
    """
    new, old = (path.with_name(f".{path.name}.{kind}") for kind in ("tmp", "old"))
    if old.is_dir() and not path.exists():  # killed between the two renames below
        os.replace(old, path)
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        if path.exists():
            os.replace(path, old)
        os.replace(new, path)
    finally:
        if old.is_dir() and not path.exists():
            os.replace(old, path)
        for folder in (new, old):
            shutil.rmtree(folder, ignore_errors=True)


def _release_student(source: Path, target: Path, measured: Mapping[str, Mapping]) -> dict[str, str]:
    """Copies the chosen files of a student and writes its card; returns {file name: its SHA-256}."""
    if not (source / "files.json").is_file():
        raise InputError(f"{source}: not exported; run `make repro`, or `facedistill export {source.name}`")
    origin, files, quality = (read_json(source / f"{kind}.json") for kind in ("origin", "files", "quality"))
    try:
        kept = selected(files)
        for name, file in kept.items():
            _copy(source / name, target / name, file)
        systems = [name.removesuffix(".onnx") for name, file in kept.items() if file["kind"] == STREAMING]
        _, metadata = open_session(target / f"{systems[0]}.onnx")
        corpora = [Corpus(**corpus) for corpus in origin["corpora"]]
        section = real_speech_section(_quotable(measured, source, list(dict.fromkeys([source.name, *systems]))))
        card = model_card(metadata, origin["n_parameters"], corpora, kept, _quality_of(quality, kept), section)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{source}: not what `facedistill export {source.name}` writes ({error!r}); run it again") from None
    write_text(target / "README.md", card)
    return {name: file["sha256"] for name, file in kept.items()}


def _copy(source: Path, target: Path, file: Mapping) -> None:
    """Copies a model and opens the copy; InputError unless it is the one that was exported, and runs."""
    content = source.read_bytes() if source.is_file() else b""
    if (len(content), hashlib.sha256(content).hexdigest()) != (file["bytes"], file["sha256"]):
        raise InputError(f"{source}: not the file that was exported; run `facedistill export {source.parent.name}` again")
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    (Model if file["kind"] == STREAMING else open_session)(target)  # says so if it does not run


def _quotable(measured: Mapping[str, Mapping], source: Path, systems: list[str]) -> dict[str, Mapping]:
    """Those results of some systems that were measured with the very files of this export; others are told and left out."""
    found = {system: measured[system] for system in systems if system in measured}
    for system, entry in list(found.items()):
        if entry.get("sha256") not in (None, sha256(source / f"{system}.onnx")):
            print(f"release: {system} was measured with another file: not quoted; run `facedistill benchmark`", file=sys.stderr)
            del found[system]
    return found


def _summary(measured: Mapping[str, Mapping], folder: Path) -> dict[str, dict]:
    """{system: {group: metrics}} of the models in a folder, and of what was measured beside them and has no file."""
    released = {sha256(path) for path in folder.glob("*/*.onnx")}
    return {
        system: {group: entry[group] for group in GROUPS if group in entry}
        for system, entry in measured.items()
        if entry.get("sha256") in released | {None}
    }


def _quality_of(quality: Mapping[str, Mapping], files: Mapping[str, Mapping]) -> dict[str, dict]:
    """What is known of some of the files alone."""
    precisions = {file["precision"] for file in files.values()}
    kept = {"scores": precisions, "tolerances": precisions, "differences": files}
    return {part: {key: value for key, value in quality[part].items() if key in keys} for part, keys in kept.items()}
