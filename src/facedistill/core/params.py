"""The one reader of params.yaml, which checks it whole before any work starts, and named changes of it."""

import difflib
import json
import reprlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from facedistill.core.config import read_yaml
from facedistill.core.errors import InputError
from facedistill.core.paths import PARAMS
from facedistill.core.sections import (
    BASELINE,
    AblateParams,
    AlignParams,
    DistillParams,
    EvaluateParams,
    ExportParams,
    LabelParams,
    Name,
    OwnTeacher,
    PrepareParams,
    Section,
    TeacherChoice,
    TeachParams,
)

VARIED = {"ablate.variants": ("ablate.student.", "distill."), "teachers": ("teach.",)}  # keys that named changes may change


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    prepare: PrepareParams
    align: AlignParams
    teach: TeachParams
    label: LabelParams
    distill: DistillParams
    ablate: AblateParams
    teachers: dict[Name, TeacherChoice]
    evaluate: EvaluateParams
    export: ExportParams
    notebooks: dict[str, dict[str, bool | int | float | str]]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        _known("evaluate.smoothed", self.evaluate.smoothed, self.distill.students)
        for name in self.evaluate.baselines:
            _known("evaluate.baselines", name, self.ablate.variants.keys() - {BASELINE})
        return self


def _known(key: str, name: str, allowed: Collection[str]) -> None:
    if name not in allowed:
        raise ValueError(f"{key}: {name!r}; allowed: {', '.join(sorted(allowed))}")


def load_params(path: Path = PARAMS) -> Params:
    """Reads and validates a parameter file, and what each variant of `ablate.variants` makes of it.

    Raises:
        InputError: missing, not YAML, or a key that is unknown, missing, of the wrong type or out of range.
    """
    values = read_yaml(path)
    try:
        params = _validated(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_one_line(error)}") from None
    own = {name: choice for name, choice in params.teachers.items() if isinstance(choice, OwnTeacher)}
    for section, named in (("ablate.variants", params.ablate.variants), ("teachers", own)):
        for name, entry in named.items():
            try:
                _check_change(params, entry.set, VARIED[section])
            except InputError as error:
                raise InputError(f"{path}: {section}.{name}.set: {error}") from None
    return params


def _check_change(params: Params, change: Mapping[str, object], prefixes: tuple[str, ...]) -> None:
    """Raises InputError for a change that is not allowed, or that would not be heard of by what it is made for."""
    changed(params, change)
    deaf = [key for key in change if not key.startswith(prefixes) or key.startswith("distill.students.")]
    if deaf:
        allowed = " or ".join(prefix + "*" for prefix in prefixes)
        raise InputError(f"{deaf[0]!r} has no effect here; allowed: {allowed}, and no key of distill.students")


def changed(params: Params, change: Mapping[str, object]) -> Params:
    """Parameters with other values at some dotted keys ("distill.losses.velocity"), checked as a file is.

    Raises:
        InputError: unknown key, or a value that is not allowed.
    """
    values = params.model_dump(mode="json")
    for key, value in change.items():
        *path, last = key.split(".")
        section = values
        for name in path:
            section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict) or last not in section:
            raise InputError(f"no key {key!r}; allowed: keys of params.yaml")
        section[last] = value
    try:
        return _validated(values)
    except ValidationError as error:
        raise InputError(_one_line(error)) from None


def _validated(values: object) -> Params:
    # As JSON, strictly: `seed: "1"` and `trainable: "yes"` are wrong types, and a list is a tuple.
    return Params.model_validate_json(json.dumps(values), strict=True)


def _one_line(error: ValidationError) -> str:
    """The first problem, a misspelt key before all others: the key, what is wrong, and how many more problems there are."""
    first, *others = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    *section, last = map(str, first["loc"] or ("(whole file)",))
    told, given = first["msg"], f", got {reprlib.repr(first['input'])}"
    if first["type"] == "extra_forbidden":
        missing = [
            str(problem["loc"][-1])
            for problem in others
            if problem["type"] == "missing" and problem["loc"][:-1] == first["loc"][:-1]
        ]
        nearest = difflib.get_close_matches(last, missing, 1, cutoff=0.0)
        told, given = f"no such key{f'; expected {nearest[0]}' if nearest else ''}", ""
    elif first["type"] == "missing" or isinstance(first["input"], dict):
        given = ""
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"{'.'.join([*section, last])}: {told}{given}{more}".split())
