"""The one reader of params.yaml, which checks it whole before any work starts, named changes of it, and YAML of plain values."""

import difflib
import json
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from facedistill.core.errors import InputError
from facedistill.core.paths import PARAMS
from facedistill.core.sections import LEARNERS, SHARED, Params, ParamsFile, Section

OVERRIDABLE_PREFIXES = {"ablate.variants": ("ablate.student.", "distill."), "teachers": ("teach.",)}  # by named changes
NAMED = ("ablate.variants", "distill.students", "teachers")  # maps of entries that anybody may add, by any name
TEXT, INTEGER, *PLAIN = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
MAX_INTEGER = 2**63
MAX_BYTES = 2**18  # 20 times the largest file here; a second of reading

Checked = TypeVar("Checked", bound=Section)


class _Loader(yaml.SafeLoader):
    """A loader of texts, numbers, true, false and null, in lists and in mappings of texts; of nothing else that YAML has."""

    yaml_implicit_resolvers = {
        letter: [(tag, form) for tag, form in forms if tag in (INTEGER, *PLAIN)]
        for letter, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        event = self.peek_event()  # an alias makes a small file a huge value, or part of itself
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise _refused("anchors, aliases and tags are not read; expected plain values", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        for key, _ in node.value:
            if key.tag != TEXT:
                raise _refused("a key that is no text; expected text, in quotes if it looks like something else", key)
        for key, count in Counter(key.value for key, _ in node.value).items():
            if count > 1:  # PyYAML takes the last
                raise _refused(f"{key!r} stands {count} times", node)
        return super().construct_mapping(node, deep)

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        value = self.construct_yaml_int(node)
        if not -MAX_INTEGER <= value < MAX_INTEGER:
            raise _refused("a number of too many digits; expected at most 64 bits", node)
        return value


_Loader.add_constructor(INTEGER, _Loader.construct_integer)


def _refused(reason: str, where: yaml.Event | yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, reason, where.start_mark)


def read_yaml(path: Path) -> object:
    """Reads YAML of plain values; raises InputError where the file is missing or is something else."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes of YAML; expected at most {MAX_BYTES}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None


def load_params(path: Path = PARAMS) -> Params:
    """Reads and validates a parameter file, see `read_yaml` and `checked`."""
    return checked(read_yaml(path), path)


def checked(values: object, path: Path) -> Params:
    """Validates the values of the parameter file at `path`, and what each variant and each teacher of ours makes of them."""
    try:
        validated(ParamsFile, values)
        params = validated(Params, whole(values))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    for section, named in (("ablate.variants", params.ablate.variants), ("teachers", params.teachers)):
        for name, entry in named.items():
            try:
                _check_change(params, getattr(entry, "set", {}), OVERRIDABLE_PREFIXES[section])
            except InputError as error:
                raise InputError(f"{path}: {section}.{name}.set: {error}") from None
    return params


def _check_change(params: Params, change: Mapping[str, object], prefixes: tuple[str, ...]) -> None:
    """Raises InputError for a change that is not allowed, or that has no effect on what it is made for."""
    for key in change:
        if not key.startswith(prefixes) or key.startswith("distill.students."):
            allowed = " or ".join(prefix + "*" for prefix in prefixes)
            raise InputError(f"{key!r} has no effect here; expected {allowed}, and no key of distill.students")
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
    """Parameters with other values at some dotted keys ("distill.losses.velocity"), checked as a file is."""
    values = params.model_dump(mode="json")
    set_keys(values, change, known=values)
    return validated(Params, values)


def set_keys(values: dict, change: Mapping[str, object], *, known: dict) -> None:
    """Sets dotted keys of those that are `known` in place; an entry of a map of NAMED may also be added, or removed by None."""
    for key, value in change.items():
        if parts := [part for part in change if part.startswith(f"{key}.")]:
            raise InputError(f"{parts[0]!r} is part of {key!r}; expected one of them")
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
    first, *others = names
    return isinstance(values, dict) and first in values and (not others or _is_there(values[first], others))


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
    message = first["msg"]
    if first["type"] == "extra_forbidden":
        message = f"no such key{_nearest(first, others, values)}"
    elif first["type"] != "missing" and not isinstance(first["input"], dict):
        message += f", got {reprlib.repr(first['input'])}"
    more = f" (and {len(others)} more)" if others else ""
    return " ".join(f"{'.'.join(map(str, first['loc'])) or '(whole file)'}: {message}{more}".split())


def _nearest(wrong: ErrorDetails, others: list[ErrorDetails], values: object) -> str:
    """What was meant by a key: one that is missing beside it, or else one that is there and looks like it."""
    *section, name = wrong["loc"]
    missing = [str(other["loc"][-1]) for other in others if other["type"] == "missing" and list(other["loc"][:-1]) == section]
    for part in section:
        values = values.get(part, {}) if isinstance(values, dict) else {}
    there = [key for key in values if [*section, key] not in [list(other["loc"]) for other in (wrong, *others)]]
    found = difflib.get_close_matches(name, missing, 1, cutoff=0.0) or difflib.get_close_matches(name, there, 1)
    return f"; expected {found[0]}" if found else ""
