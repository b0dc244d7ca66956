"""The one reader of params.yaml, which checks it whole before any work starts, and named changes of it."""

import difflib
import json
import reprlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, create_model, model_validator
from pydantic_core import ErrorDetails

from facedistill.core.config import read_yaml
from facedistill.core.errors import InputError
from facedistill.core.paths import PARAMS
from facedistill.core.sections import (
    BASELINE,
    AblateParams,
    AlignParams,
    AugmentParams,
    DistillParams,
    EvaluateParams,
    ExportParams,
    InternalTeacher,
    LabelParams,
    Name,
    OptimizerParams,
    PrepareParams,
    Section,
    TeacherChoice,
    TeachParams,
)

OVERRIDABLE_PREFIXES = {
    "ablate.variants": ("ablate.student.", "distill."),
    "teachers": ("teach.",),
}  # keys that named changes may change
NAMED = ("ablate.variants", "distill.students", "teachers")  # maps of entries that anybody may add, by any name
LEARNERS = ("align", "teach", "distill")  # stages that train: each has both of these sections, in which it names what differs
SHARED = {"optimizer": OptimizerParams, "augment": AugmentParams}


class Params(Section):
    """All of params.yaml, with whole sections `optimizer` and `augment` in every stage that trains."""

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


_Top = create_model(  # what stands in the file, as far as it is not told from `Params`
    "_Top",
    __base__=Section,
    **{name: (Any, ...) for name in Params.model_fields} | {name: (kind, ...) for name, kind in SHARED.items()},
)
Checked = TypeVar("Checked", bound=Section)


def _known(key: str, name: str, allowed: Collection[str]) -> None:
    if name not in allowed:
        raise ValueError(f"{key}: {name!r}; expected {', '.join(sorted(allowed))}")


def load_params(path: Path = PARAMS) -> Params:
    """Reads and validates a parameter file, and what each named change makes of it.

    Raises:
        InputError: missing, not YAML, or a key that is unknown, missing, of the wrong type or out of range.
    """
    return checked(read_yaml(path), path)


def checked(values: object, path: Path) -> Params:
    """Validates the values of a parameter file, and what each variant and each teacher of ours makes of them.

    Args:
        path: of the file, for messages.

    Raises:
        InputError: a key that is unknown, missing, of the wrong type or out of range.
    """
    try:
        validated(_Top, values)
        params = validated(Params, whole(values))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    own = {name: choice for name, choice in params.teachers.items() if isinstance(choice, InternalTeacher)}
    for section, named in (("ablate.variants", params.ablate.variants), ("teachers", own)):
        for name, entry in named.items():
            try:
                _check_change(params, entry.set, OVERRIDABLE_PREFIXES[section])
            except InputError as error:
                raise InputError(f"{path}: {section}.{name}.set: {error}") from None
    return params


def _check_change(params: Params, change: Mapping[str, object], prefixes: tuple[str, ...]) -> None:
    """Raises InputError for a change that is not allowed, or that would not be heard of by what it is made for."""
    ignored_keys = [key for key in change if not key.startswith(prefixes) or key.startswith("distill.students.")]
    if ignored_keys:
        allowed = " or ".join(prefix + "*" for prefix in prefixes)
        raise InputError(f"{ignored_keys[0]!r} has no effect here; expected {allowed}, and no key of distill.students")
    with_overrides(params, change)


def whole(values: dict) -> dict:
    """The values of a parameter file with whole sections `optimizer` and `augment` in the stages that train, and nowhere else."""
    sections = {name: section for name, section in values.items() if name not in SHARED}
    for stage in LEARNERS:
        if isinstance(section := sections[stage], dict):
            own = {name: section.get(name, {}) for name in SHARED}
            sections[stage] = section | {name: values[name] | keys for name, keys in own.items() if isinstance(keys, dict)}
    return sections


def with_overrides(params: Params, change: Mapping[str, object]) -> Params:
    """Parameters with other values at some dotted keys ("distill.losses.velocity"), checked as a file is.

    Raises:
        InputError: unknown key, or a value that is not allowed.
    """
    values = params.model_dump(mode="json")
    set_keys(values, change, known=values)
    return validated(Params, values)


def set_keys(values: dict, change: Mapping[str, object], *, known: dict) -> None:
    """Sets dotted keys in place; an entry of a map of NAMED may also be added, or removed by None.

    Args:
        known: values with all keys that there are, which may be more than are set.

    Raises:
        InputError: no such key, or one that is part of another.
    """
    for key, value in change.items():
        for part in change:
            if part.startswith(f"{key}."):
                raise InputError(f"{part!r} is part of {key!r}; expected one of them")
        *path, last = _names(known, key, value)
        section = values
        for name in path:
            section = section.setdefault(name, {})
        if value is None and ".".join(path) in NAMED:
            section.pop(last, None)
        else:
            section[last] = value


def _names(known: dict, key: str, value: object) -> list[str]:
    """The names that lead to a key, the last of which may hold dots if it is that of an entry."""
    if _is_there(known, names := key.split(".")):
        return names
    group = next((group for group in NAMED if key.startswith(f"{group}.")), None)
    entry = [*group.split("."), key.removeprefix(f"{group}.")] if group else []
    if entry and (isinstance(value, dict) or value is None and _is_there(known, entry)):
        return entry
    raise InputError(f"no key {key!r}; expected {difflib.get_close_matches(key, _dotted(known), 1, cutoff=0.0)[0]}")


def _is_there(values: object, names: list[str]) -> bool:
    for name in names:
        if not isinstance(values, dict) or name not in values:
            return False
        values = values[name]
    return True


def _dotted(values: dict, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values, where no name has a dot itself."""
    for name, value in values.items():
        if isinstance(value, dict) and value and "." not in "".join(value):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def validated(kind: type[Checked], values: object) -> Checked:
    """As JSON, strictly: `seed: "1"` and `trainable: "yes"` are wrong types, and a list is a tuple."""
    try:
        return kind.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise InputError(_one_line(error, values)) from None


def _one_line(error: ValidationError, values: object) -> str:
    """The first problem, a misspelt key before all others: the key, what is wrong, and how many more problems there are."""
    first, *others = sorted(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    *section, last = map(str, first["loc"] or ("(whole file)",))
    message, given = first["msg"], f", got {reprlib.repr(first['input'])}"
    if first["type"] == "extra_forbidden":
        message, given = f"no such key{_nearest(first, others, values)}", ""
    elif first["type"] == "missing" or isinstance(first["input"], dict):
        given = ""
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"{'.'.join([*section, last])}: {message}{given}{more}".split())


def _nearest(wrong: ErrorDetails, others: list[ErrorDetails], values: object) -> str:
    """What was meant by a key: one that is missing beside it, or else one that is there and looks like it."""
    *section, name = wrong["loc"]
    missing = [str(other["loc"][-1]) for other in others if other["type"] == "missing" and list(other["loc"][:-1]) == section]
    for part in section:
        values = values.get(part, {}) if isinstance(values, dict) else {}
    there = [key for key in values if [*section, key] not in [list(other["loc"]) for other in (wrong, *others)]]
    found = difflib.get_close_matches(name, missing, 1, cutoff=0.0) or difflib.get_close_matches(name, there, 1)
    return f"; expected {found[0]}" if found else ""
