"""Command `config`: a whole params.yaml of configs/default.yaml and of what a configuration has otherwise."""

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from facedistill.core.errors import InputError
from facedistill.core.params import TEXT, checked, read_yaml, set_keys, whole
from facedistill.core.paths import CONFIGS

DEFAULT = CONFIGS / "default.yaml"


class _Dumper(yaml.SafeDumper):
    """A dumper that escapes line breaks, where YAML's own writes a text on several lines."""

    def represent_text(self, text: str) -> yaml.Node:
        return self.represent_scalar(TEXT, text, style=None if text.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def config(name: str) -> str:
    """The text of configs/default.yaml with its comments and with the values of a configuration.

    Args:
        name: of a file in configs, or a path that ends in .yaml: a mapping of dotted keys to values.
    """
    path = Path(name) if name.endswith(".yaml") else CONFIGS / f"{name}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(file.stem for file in CONFIGS.glob("*.yaml")))
        raise InputError(f"{path}: no such configuration; expected {names}, or a path that ends in .yaml")
    change = read_yaml(path)
    if not isinstance(change, dict):
        raise InputError(f"{path}: is no mapping; expected dotted keys of params.yaml and their values")
    return changed_text(DEFAULT, change, path)


def changed_text(base: Path, change: Mapping[str, object], source: Path) -> str:
    """The text of a parameter file with other values at some dotted keys; `source` is named where they are not allowed.

    Its layout and its comments stay.
    """
    before = read_yaml(base)
    checked(before, base)
    after = copy.deepcopy(before)
    try:
        set_keys(after, change, known=before | whole(before))
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    checked(after, source)
    text = base.read_text(encoding="utf-8").rstrip("\n") + "\n"
    for start, end, new in sorted(_edits(text, yaml.compose(text, yaml.SafeLoader), before, after), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _edits(text: str, node: yaml.MappingNode, before: dict, after: dict) -> Iterator[tuple[int, int, str]]:
    """(start, end, what comes in its place) of what differs in a mapping whose keys stand on lines of their own."""
    for key, value in node.value:
        name = key.value
        if name not in after:
            yield key.start_mark.index - key.start_mark.column, _next_line(text, value), ""
        elif isinstance(value, yaml.MappingNode) and _is_block(value) and after[name]:
            yield from _edits(text, value, before[name], after[name])
        elif after[name] != before[name]:
            yield _replaced(text, key, value, _on_one_line(after[name]))
    end, indent = _next_line(text, node), " " * node.start_mark.column
    yield end, end, "".join(f"{indent}{name}: {_on_one_line(after[name])}\n" for name in after if name not in before)


def _replaced(text: str, key: yaml.Node, value: yaml.Node, new: str) -> tuple[int, int, str]:
    start = value.start_mark.index
    if not _is_block(value):
        return start, value.end_mark.index, new
    return start - value.start_mark.column, _next_line(text, value), f"{' ' * key.start_mark.column}  {new}\n"


def _is_block(node: yaml.Node) -> bool:
    return isinstance(node, yaml.CollectionNode) and not node.flow_style


def _next_line(text: str, node: yaml.Node) -> int:
    """Where the line behind a value begins. YAML's own end of a block is that of the comments behind it."""
    if _is_block(node):
        last = node.value[-1]
        return _next_line(text, last[1] if isinstance(last, tuple) else last)
    return text.index("\n", node.end_mark.index) + 1


def _on_one_line(value: object) -> str:
    text = yaml.dump(value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=True, width=float("inf"))
    return text.split("\n")[0]  # "..." may follow
