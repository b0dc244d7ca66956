"""YAML, which the pipeline is configured in; animating needs none."""

from collections import Counter
from pathlib import Path

import yaml

from facedistill.core.errors import InputError

TEXT, INTEGER, *PLAIN = (f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null"))
MAX_INTEGER = 2**63
MAX_BYTES = 2**18  # 20 times the largest file here; a second of reading


class _Loader(yaml.SafeLoader):
    """A loader of texts, numbers, true, false and null, in lists and in mappings of texts; of nothing else that YAML has.

    It refuses aliases, by which a small file is a huge value, or part of itself; and a key that stands twice in one mapping,
    where PyYAML takes the last.
    """

    yaml_implicit_resolvers = {
        letter: [(tag, form) for tag, form in forms if tag in (INTEGER, *PLAIN)]
        for letter, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node:
        event = self.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise _refused("anchors, aliases and tags are not read; expected plain values", event)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        for key, _ in node.value:
            if key.tag != TEXT:
                raise _refused("a key that is no text; expected text, in quotes if it looks like something else", key)
        for key, count in Counter(key.value for key, _ in node.value).items():
            if count > 1:
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
    """Reads YAML of plain values; keys are texts.

    Raises:
        InputError: the file is missing or is not YAML, has aliases or tags, or a key stands twice in it.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes of YAML; expected at most {MAX_BYTES}")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, ValueError, OverflowError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
