"""Stage `check`: what the parameters name is there, before anything is made; and which code each stage depends on."""

import shutil

from facedistill import STAGES
from facedistill.core.errors import InputError
from facedistill.core.files import write_text
from facedistill.core.imports import digest, import_closure, imported, notebook_code
from facedistill.core.params import Params
from facedistill.core.paths import DATA, NOTEBOOKS, PARAMS, ROOT, SENTENCES
from facedistill.core.sections import ExternalLabels
from facedistill.speech.espeak import languages

CODE = DATA / "code"


def check(params: Params) -> None:
    """Checks what the parameters name, and writes data/code: for each stage and notebook the files that decide what it makes."""
    spoken = set(languages()) & {path.stem for path in SENTENCES.glob("*.txt")}
    for key in ("languages", "unseen_languages"):
        for language in sorted(set(getattr(params.prepare.synthetic, key)) - spoken):
            what = f"prepare.synthetic.{key}: {language!r} has no sentences or no voice"
            raise InputError(f"{PARAMS}: {what}; expected {', '.join(sorted(spoken))}")
    for key, path in _paths(params).items():
        if not (ROOT / path).exists():
            raise InputError(f"{PARAMS}: {key}: {path}: no such file or folder; expected one that is there, from {ROOT} on")
    code = {name: import_closure(f"facedistill.pipeline.{name}") for name in STAGES if name != "check"}
    code["web"] = import_closure("facedistill.repro.web")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        code[path.stem] = [path, *import_closure("facedistill.repro.notebooks", *imported(notebook_code(path), path))]
    shutil.rmtree(CODE, ignore_errors=True)
    for name, files in code.items():
        write_text(CODE / f"{name}.txt", digest(files))


def _paths(params: Params) -> dict[str, str]:
    """{key: path} of all that is to be there already."""
    prepare = params.prepare
    paths = {"prepare.recordings.path": prepare.recordings.path, "prepare.librispeech.root": prepare.librispeech.root}
    encoders = {"align.aligner.source": params.align.aligner.source, "teach.encoder.source": params.teach.encoder.source}
    for name, teacher in params.teachers.items():
        if isinstance(teacher, ExternalLabels):
            paths |= {f"teachers.{name}.audio": teacher.audio, f"teachers.{name}.labels": teacher.labels}
        else:
            encoders[f"teachers.{name}.set.teach.encoder.source"] = str(teacher.set.get("teach.encoder.source", ""))
    for key, source in encoders.items():  # a name, a model of the hub, or a path
        first, has_parts, _ = source.partition("/")
        if has_parts and (first in ("", ".", "..", "~") or (ROOT / first).exists()):
            paths[key] = source
    return {key: path for key, path in paths.items() if path is not None}
