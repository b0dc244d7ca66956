"""Stage `check`: what the parameters name is there, before anything is made; and which code each stage depends on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from facedistill import STAGES
from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.core.imports import digest, import_closure, imported, notebook_code
from facedistill.core.params import Params
from facedistill.core.paths import DATA, NOTEBOOKS, PARAMS, ROOT, SENTENCES
from facedistill.core.sections import ExternalLabels, InternalTeacher
from facedistill.speech.espeak import languages

CODE = DATA / "code"


def check(params: Params) -> None:
    """Checks what the parameters name, and writes data/code: for each stage and notebook the files that decide what it makes.

    Raises:
        InputError: a language without sentences or voice, or a path that is not there; or a notebook that is none.
    """
    _check_languages(params)
    for key, path in _paths(params):
        if not (ROOT / path).exists():
            raise InputError(f"{PARAMS}: {key}: {path}: no such file or folder; expected one that is there, from {ROOT} on")
    shutil.rmtree(CODE, ignore_errors=True)
    for name, files in _code().items():
        write_text(CODE / f"{name}.txt", digest(files))


def _check_languages(params: Params) -> None:
    spoken = set(languages()) & {path.stem for path in SENTENCES.glob("*.txt")}
    for key in ("languages", "unseen_languages"):
        unknown = sorted(set(getattr(params.prepare.synthetic, key)) - spoken)
        if unknown:
            expected = ", ".join(sorted(spoken))
            raise InputError(
                f"{PARAMS}: prepare.synthetic.{key}: {unknown[0]!r} has no sentences or no voice; expected {expected}"
            )


def _paths(params: Params) -> Iterator[tuple[str, str]]:
    """(key, path) of all that is to be there already."""
    recordings, librispeech = params.prepare.recordings.path, params.prepare.librispeech.root
    if recordings is not None:
        yield "prepare.recordings.path", recordings
    if librispeech is not None:
        yield "prepare.librispeech.root", librispeech
    encoders = {"align.aligner.source": params.align.aligner.source, "teach.encoder.source": params.teach.encoder.source}
    for name, teacher in params.teachers.items():
        if isinstance(teacher, ExternalLabels):
            yield f"teachers.{name}.audio", teacher.audio
            yield f"teachers.{name}.labels", teacher.labels
        elif isinstance(teacher, InternalTeacher):
            encoders[f"teachers.{name}.set.teach.encoder.source"] = str(teacher.set.get("teach.encoder.source", ""))
    for key, source in encoders.items():  # a name, a model of the hub, or a path
        first, is_path, _ = source.partition("/")
        if is_path and (first in ("", ".", "..", "~") or (ROOT / first).exists()):
            yield key, source


def _code() -> dict[str, list[Path]]:
    """{stage or notebook: the files that decide what it makes}."""
    code = {name: import_closure(f"facedistill.pipeline.{name}") for name in STAGES if name != "check"}
    code["web"] = import_closure("facedistill.repro.web")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        code[path.stem] = [path, *import_closure("facedistill.repro.notebooks", *imported(notebook_code(path), path))]
    return code
