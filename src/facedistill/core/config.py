"""YAML, which the pipeline is configured in; animating needs none."""

from collections import Counter
from pathlib import Path

import yaml

from facedistill.core.errors import InputError


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key which stands twice in one mapping, where PyYAML takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        for key, count in Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)).items():
            if count > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands {count} times", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> object:
    """Reads YAML of plain values.

    Raises:
        InputError: the file is missing or is not YAML, or a key stands twice in it.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from None
