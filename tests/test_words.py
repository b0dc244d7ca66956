"""The names and phrases that the field's words have replaced stay away."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from facedistill.core.messages import printable
from facedistill.core.params import read_yaml
from facedistill.core.paths import CONFIGS, PARAMS, ROOT

IDENTIFIERS = """
    GUIDE Guided OutsideTeacher OwnTeacher Sitter Facts Spoken Steps Trouble VARIED aim_at_rest deaf evenly facts forget hang
    heard heard_name lip_products lit no_history perceive recogniser seen_from sitter speak_in taught_systems tell_error told
    threshold_sweep verdict_of wear
""".split()
KEYS = "align.recogniser augment.quiet distill.losses.lips level_ratio losses.divergence generator.free".split()
PHRASES = [
    "a mouth that follows loudness", "sound in which nobody speaks", "what earns its place", "the page that listens",
    "how late a frame is", "twice distilled", "; allowed:", "heard<", "history<",
]  # fmt: skip
TEXTS = (".py", ".ipynb", ".md", ".yaml", ".toml", ".ts", ".html", ".css", ".js", ".mjs", ".cpp")


def tracked(*suffixes: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--", "."]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout.split("\0")
    paths = [ROOT / name for name in names if name.endswith(suffixes)]
    return [path for path in paths if path.is_file() and path != Path(__file__)]


def keys_of(values: object, prefix: str = "") -> Iterator[str]:
    """The dotted keys of nested mappings."""
    for key, value in values.items() if isinstance(values, dict) else ():
        yield f"{prefix}{key}"
        yield from keys_of(value, f"{prefix}{key}.")


@pytest.mark.parametrize("key", KEYS)
def test_no_parameter_has_a_retired_key(key):
    paths = [PARAMS, ROOT / "dvc.yaml", *CONFIGS.glob("*.yaml")]
    retired = re.compile(rf"(^|\.){re.escape(key)}(\.|$)")
    assert not [f"{path.name}: {name}" for path in paths for name in keys_of(read_yaml(path)) if retired.search(name)]
    assert retired.search(f"teach.{key}.x") and not retired.search(f"{key}s")


@pytest.fixture(scope="module")
def texts() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in tracked(*TEXTS)}


def test_no_identifier_is_a_retired_word():
    found = []
    for path in tracked(".py"):
        tokens = tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline)
        names = {token.string for token in tokens if token.type == tokenize.NAME}
        found += [f"{path.relative_to(ROOT)}: {name}" for name in sorted(names & set(IDENTIFIERS))]
    assert not found


@pytest.mark.parametrize("phrase", PHRASES)
def test_no_text_has_a_retired_phrase(texts, phrase):
    pattern = re.compile(r"\s+".join(map(re.escape, phrase.split())), re.IGNORECASE)
    assert not [printable(str(path.relative_to(ROOT))) for path, text in texts.items() if pattern.search(text)]
