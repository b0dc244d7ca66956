"""`facedistill config`: a whole params.yaml of the default and of what a configuration changes in it."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from configurations import params_of, values_of
from dvc.utils.hydra import apply_overrides
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.params import LEARNERS, SHARED, load_params, set_keys, whole
from facedistill.core.paths import PACKAGE, PARAMS
from facedistill.repro.config import DEFAULT, changed_text, config

TEXT = DEFAULT.read_text(encoding="utf-8")
COMMENTS = re.compile(r"#.*")
SMALL = {"channels": 8, "window_ms": 64, "future_ms": 0, "start": None, "steps": 1}
CHANGES = {  # each allowed together with all others
    "seed": 7,
    "notebooks.fig12_shapes.face": "two\nlines\u2028 and a \U0001f600",
    "augment.noise": 0.5,
    "optimizer.precision": "bfloat16",
    "teach.augment.noise": 0.25,
    "align.augment": {"speed": [1.0, 1.0], "clip": 0.0},
    "distill.optimizer.weight_decay": 0.0,
    "prepare.synthetic.languages": ["de"],
    "prepare.synthetic.hours.paired": 1e-05,
    "prepare.corpora": [{"reader": "recordings", "path": "no", "held_out": ["#1", "a: b", "é/*"]}],
    "distill.students.small.steps": 3,
    "distill.students.real-time": None,
    "distill.students.v1.5": SMALL,
    "distill.data.voices": 5,
    "ablate.variants.no-lip-vertex-loss": None,
    "ablate.variants.small-paired-only.why": "because",
    "ablate.variants.clipped": {"set": {"distill.augment.clip": 1.0}},
    "teachers.brief": None,  # the last entry, before a blank line and a comment
    "teachers.brief-2": {"kind": "ours", "splits": ["paired"], "set": {"teach.steps": 1}, "components": None},
    "notebooks.90_numbers.shown": "x" * 200,
}


def written(tmp_path: Path, text: str, name: str = "own.yaml") -> str:
    (tmp_path / name).write_text(text, encoding="utf-8")
    return str(tmp_path / name)


def test_the_default_is_its_own_expansion_to_the_byte():
    assert config("default") == TEXT == PARAMS.read_text(encoding="utf-8")


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(sorted(CHANGES))), st.randoms())
def test_a_changed_text_holds_the_changes_all_comments_and_nothing_else(keys, random):
    change = {key: CHANGES[key] for key in random.sample(sorted(keys), len(keys))}
    values = yaml.safe_load(TEXT)
    set_keys(values, copy.deepcopy(change), known=values | whole(values))
    text = changed_text(DEFAULT, change, DEFAULT)
    assert yaml.safe_load(text) == values
    assert COMMENTS.findall(re.sub("'#1'|x{200}", "", text)) == COMMENTS.findall(TEXT)
    assert len(set(TEXT.splitlines()) - set(text.splitlines())) <= 2 * len(change)  # an entry may stand on two lines


def test_all_entries_of_a_map_may_go(tmp_path):
    path = written(tmp_path, "teachers: {}\nablate.variants: {baseline: {set: {}}}\nevaluate.baselines: []\n")
    values = yaml.safe_load(config(path))
    assert (values["teachers"], values["ablate"]["variants"]) == ({}, {"baseline": {"set": {}}})
    assert COMMENTS.findall(config(path)) == COMMENTS.findall(TEXT)


def test_lists_and_sections_may_stand_on_lines_of_their_own(tmp_path):
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    apply_overrides(tmp_path / "params.yaml", ["seed=3"])  # DVC writes lists so
    change = {"prepare.synthetic.languages": ["de"], "augment.noise": 0.5, "evaluate.baselines": ["paired-only"]}
    text = changed_text(tmp_path / "params.yaml", change, DEFAULT)
    values = yaml.safe_load(TEXT) | {"seed": 3}
    set_keys(values, change, known=values)
    assert yaml.safe_load(text) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distill.losses.velocty: 0", "own.yaml: no key 'distill.losses.velocty'; expected distill.losses.velocity$"),
        ("teach.augment.nois: 0.5", "own.yaml: no key 'teach.augment.nois'; expected teach.augment.noise$"),
        ("label.augment.noise: 0.5", "own.yaml: no key 'label.augment.noise'; expected .*augment.noise$"),
        ("distill.students.small.stepz: 1", "no key 'distill.students.small.stepz'; expected distill.students.small.steps$"),
        ("distill.students.smal: null", "no key 'distill.students.smal'; expected distill.students.small"),
        ("teachers.mesh.set.teach.steps: 1", "no key 'teachers.mesh.set.teach.steps'; expected teachers.mesh.set$"),
        ("variants.x: {set: {}}", "no key 'variants.x'; expected "),
        ("seed.x: 1", "no key 'seed.x'; expected seed$"),
        ("'': 1", "no key ''; expected "),
        ("seed: null", "own.yaml: seed: Input should be a valid integer, got None$"),
        ("evaluate: null", "own.yaml: evaluate: Input should be an object, got None$"),
        ("teach.steps: 0", "own.yaml: teach.steps: Input should be greater than or equal to 1, got 0$"),
        ("teach.optimizer: {lerning_rate: 1.0}", "own.yaml: teach.optimizer.lerning_rate: no such key; expected learning_rate$"),
        ("ablate.variants.baseline: null", "own.yaml: ablate: .*variants.baseline: missing"),
        (
            "ablate.variants.x: {set: {distill.losses.velocty: 0}}",
            "own.yaml: ablate.variants.x.set: no key 'distill.losses.velocty'",
        ),
        (
            "distill.optimizer: {}\ndistill.optimizer.crop_s: 1.0",
            "'distill.optimizer.crop_s' is part of 'distill.optimizer'; expected one",
        ),
        ("prepare.synthetic.hours: 1\nprepare: 5", "'prepare.synthetic.hours' is part of 'prepare'; expected one of them$"),
        ("seed: 1\nseed: 2", "own.yaml: cannot be read as YAML .'seed' stands 2 times"),
        ("- seed", "own.yaml: is no mapping; expected dotted keys of params.yaml and their values$"),
        ("# nothing", "own.yaml: is no mapping"),
    ],
)
def test_what_is_not_a_change_of_the_default_is_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        config(written(tmp_path, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_name_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(
        InputError, match="relase.yaml: no such configuration; expected default, paper, pretrain, release, smoke, or a"
    ):
        config("relase")


def test_the_documented_command_needs_no_params_yaml(tmp_path):
    """The shell empties the file before the command begins."""
    shutil.copy(PARAMS, tmp_path / "params.yaml")
    command = f"'{sys.executable}' -m facedistill config release > params.yaml"
    subprocess.run(command, shell=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)}, check=True)
    assert load_params(tmp_path / "params.yaml") == params_of("release") != load_params()


def test_a_wrong_name_prints_one_line_and_no_parameters():
    done = subprocess.run([sys.executable, "-m", "facedistill", "config", "no"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*no.yaml: no such configuration; expected .*\n", done.stderr)


@pytest.mark.parametrize("shared", SHARED)
def test_a_shared_section_stands_once_and_stages_hold_what_differs(shared):
    values = values_of("default")
    for stage in LEARNERS:
        own = values[stage][shared]
        assert all(values[shared][key] != value for key, value in own.items()), f"{stage}.{shared} repeats what all have"
        assert whole(values)[stage][shared] == values[shared] | own


@pytest.mark.parametrize(
    ("override", "align", "teach", "distill"),
    [
        ("augment.noise=0.5", 0.5, 0.5, 0.5),
        ("+distill.augment.noise=0.5", 0.35, 0.35, 0.5),
        ("++distill.augment.noise=0.5", 0.35, 0.35, 0.5),
        ("+align.augment={noise: 0.5}", 0.5, 0.35, 0.35),
    ],
)
def test_dvc_sets_what_is_shared_and_what_differs(tmp_path, override, align, teach, distill):
    path = Path(shutil.copy(PARAMS, tmp_path / "params.yaml"))
    apply_overrides(path, [override])  # as `dvc exp run -S` does
    params = load_params(path)
    assert (params.align.augment.noise, params.teach.augment.noise, params.distill.augment.noise) == (align, teach, distill)


def test_a_stage_may_leave_its_own_sections_out(tmp_path):
    values = yaml.safe_load(TEXT)
    for stage in LEARNERS:
        for shared in SHARED:
            del values[stage][shared]
    params = load_params(Path(written(tmp_path, yaml.safe_dump(values))))
    assert params.align.optimizer == params.teach.optimizer == params.distill.optimizer
    assert params.teach.augment.model_dump(mode="json") == values["augment"]


def test_every_setting_says_what_it_is():
    silent = [line for line in TEXT.splitlines() if re.match(r" *(?!why)[\w-]+: [^{#\s]", line) and "  # " not in line]
    assert silent == []


def dotted(values: object, prefix: str = "") -> list[str]:
    inner = (
        [key for name, value in values.items() for key in dotted(value, f"{prefix}.{name}")] if isinstance(values, dict) else []
    )
    return [prefix[1:], *inner]


KEYS = st.sampled_from(dotted(yaml.safe_load(TEXT))) | st.sampled_from(
    [".", "seed.", "teachers.", "teachers.a.b", "x" * 300, "é"]
)
VALUES = st.sampled_from(
    [None, 0, 1, -1, 0.5, True, "", "a", [], [1], [[]], {}, {"a": {}}, {"set": {"a.b": 1}}, SMALL, "a\nb", "\x00\u2028"]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3))
def test_any_change_is_a_valid_params_yaml_or_one_line(tmp_path, change):
    try:
        text = config(written(tmp_path, yaml.safe_dump(change)))
    except InputError as error:
        assert "own.yaml: " in str(error) and "\n" not in str(error)
    else:
        load_params(Path(written(tmp_path, text, "params.yaml")))
