"""What DVC, the notebooks and the README promise is true of the code: dependencies, parameters, names and commands."""

import ast
import copy
import re
import shlex
import shutil
import subprocess
from functools import cache
from pathlib import Path

import nbformat
import pytest
import typer
import yaml
from configurations import NAMES, RUNS, params_of, values_of
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from facedistill import cli
from facedistill.core.params import LEARNERS, SHARED, load_params, set_keys, whole, with_overrides
from facedistill.core.paths import CONFIGS, NOTEBOOKS, PARAMS, ROOT
from facedistill.core.sections import DistillParams, InternalTeacher
from facedistill.repro import notebooks

PACKAGE = ROOT / "src" / "facedistill"
COMMAND = ("python", "-m", "facedistill")
SOURCES = sorted(NOTEBOOKS.glob("*.ipynb"))
MAX_CODE_CELLS = 15
NAMED = ("ablate.variants.", "teachers.")  # entries of params.yaml that have names of their own


@cache
def stages() -> dict[str, object]:
    """DVC's own reading of dvc.yaml, matrices and templates resolved; benchmarks have pipelines of their own."""
    assert (ROOT / "dvc.yaml").is_file(), "dvc.yaml is missing"
    index = Repo(str(ROOT), config={"core": {"no_scm": True}}).index
    return {stage.name: stage for stage in index.stages if Path(stage.path) == ROOT / "dvc.yaml"}


def test_no_stage_needs_a_pipeline_of_the_benchmarks():
    index = Repo(str(ROOT), config={"core": {"no_scm": True}}).index
    theirs = {out.fs_path for stage in index.stages if Path(stage.path) != ROOT / "dvc.yaml" for out in stage.outs}
    assert theirs and not theirs & {dep.fs_path for stage in stages().values() for dep in stage.deps}


def base(stage_name: str) -> str:
    return stage_name.partition("@")[0]


def subcommand(stage) -> list[str]:
    words = shlex.split(stage.cmd)
    assert tuple(words[:3]) == COMMAND, f"{stage.name}: `{stage.cmd}` is not one call of `{' '.join(COMMAND)}`"
    return words[3:]


def made_by(stage) -> str:
    """The stage's name for people: that of its command, or of its notebook."""
    command, *arguments = subcommand(stage)
    return arguments[0] if command == "notebook" else command


def lookup(values: dict, key: str) -> bool:
    """Whether a dotted key leads to a value."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            return False
        values = values[part]
    return True


def flat_keys(values: dict, prefix: str = "") -> set[str]:
    keys = set()
    for name, value in values.items():
        keys |= flat_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return keys


def read_yaml(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def params_keys(stage) -> set[str]:
    return {key for dep in stage.deps if hasattr(dep, "params") for key in dep.params}


def test_nothing_is_tracked_that_git_is_told_to_ignore():
    message = ["git", "ls-files", "--cached", "--ignored", "--exclude-standard"]
    done = subprocess.run(message, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 or done.stdout == ""  # a copy without git has nothing to tell


# dvc.yaml -----------------------------------------------------------------------------------------------------------


def test_each_stage_depends_on_its_own_code_and_on_no_other():
    for name, stage in stages().items():
        deps = {dep.def_path for dep in stage.deps if dep.def_path.startswith(("src", "notebooks", "data/code"))}
        if name == "check":
            assert deps == {"src/facedistill", *(path.relative_to(ROOT).as_posix() for path in SOURCES)}
        else:
            assert deps == {f"data/code/{made_by(stage)}.txt"}, name


def test_every_stage_waits_for_the_check_of_all_parameters():
    assert "params.yaml" in {dep.def_path for dep in stages()["check"].deps}
    assert {out.def_path for out in stages()["check"].outs} == {"data/code"}


def test_each_stage_says_what_it_does():
    assert [name for name, stage in stages().items() if not stage.desc] == []


def test_a_stage_its_module_and_its_section_share_one_name():
    sections = {name for name, value in read_yaml(PARAMS).items() if isinstance(value, dict)} - {"notebooks", *SHARED}
    pipeline = set()
    for name, stage in stages().items():
        if name == "check":  # it reads them all
            continue
        command, *arguments = subcommand(stage)
        if command == "notebook":
            assert arguments == [name.partition("@")[2] or name]
            continue
        pipeline.add(base(name))
        assert command == base(name)
        assert f"def {command}(" in (PACKAGE / "pipeline" / f"{command}.py").read_text(encoding="utf-8")
        assert any(key.split(".")[0] == command for key in params_keys(stage)), f"{name} reads no parameter of its section"
    assert pipeline == sections


def test_every_notebook_has_a_stage():
    assert SOURCES, "no notebook in notebooks/"
    assert {path.stem for path in SOURCES} <= set(map(made_by, stages().values()))


@pytest.mark.parametrize("name", NAMES)
def test_parameters_of_every_stage_exist(name: str):
    # Variants and teachers are those of params.yaml: a configuration may have others.
    wanted = {key for stage in stages().values() for key in params_keys(stage) if name == "default" or not key.startswith(NAMED)}
    assert wanted, "no stage reads a parameter"
    assert sorted(key for key in wanted if not lookup(values_of(name), key)) == []


def test_stages_read_what_they_share_with_others_where_they_read_what_differs():
    readers = {}
    for shared in SHARED:
        for name, stage in stages().items():
            own = {*LEARNERS, f"distill.{shared}"} - {"distill"}  # of which `evaluate` reads the students
            assert (shared in params_keys(stage)) == bool(own & params_keys(stage)), name
            readers.setdefault(shared, set()).update([base(name)] if shared in params_keys(stage) else [])
    assert readers["augment"] == {"align", "teach", "distill", "ablate", "teachers"}
    assert readers["optimizer"] == readers["augment"] | {"fig6_data_scaling"}


@pytest.mark.parametrize("name", NAMES)
def test_dependencies_on_other_students_are_those_of_the_parameters(name: str):
    """DVC cannot read a dependency out of params.yaml: dvc.yaml says again which student guides, starts and is varied."""
    declared, params = read_yaml(ROOT / "dvc.yaml")["stages"], params_of(name)
    students = params.distill.students
    assert set(declared["distill"]["foreach"]) == set(students)
    for student, item in declared["distill"]["foreach"].items():
        assert item["guide"] == ("data/label" if student == "small" else "data/distill/small/model.safetensors")
        start = students[student].start
        assert item["start"] == "data/label" if start is None else item["start"].startswith(f"data/distill/{start}/")
    for baseline, trained in {"paired-only": students["on-device"], "small-paired-only": students["small"]}.items():
        alike = with_overrides(params, params.ablate.variants[baseline].set).ablate.student
        assert alike == trained.model_copy(update={"start": None}), f"{baseline} is to be compared with a student like it"
    # Variants declare the guide alone, and read what these sections say.
    changes = {key for variant in params.ablate.variants.values() for key in variant.set}
    assert all(key.startswith(("ablate.student.", "distill.")) and not key.startswith("distill.students.") for key in changes)


# params.yaml and configs ---------------------------------------------------------------------------------------------


def test_params_yaml_is_the_default():
    assert PARAMS.read_bytes() == (CONFIGS / "default.yaml").read_bytes(), "run: facedistill config default > params.yaml"
    assert {"smoke", "paper", "pretrain", "release"} < set(NAMES) and len(RUNS) == 3


@pytest.mark.parametrize("name", [*NAMES, *RUNS])
def test_a_configuration_makes_a_valid_and_complete_params_yaml(name: str):
    assert params_of(name)
    keys = [{key for key in flat_keys(whole(values_of(each))) if not key.startswith(NAMED)} for each in (name, "default")]
    assert keys[0] == keys[1]


@pytest.mark.parametrize("name", sorted({*NAMES, *RUNS} - {"default"}))
def test_a_configuration_holds_what_differs_and_nothing_else(name: str):
    path, default = ROOT / name if name in RUNS else CONFIGS / f"{name}.yaml", values_of("default")
    assert path.read_text(encoding="utf-8").startswith("# "), "says what it is for"
    for key, value in read_yaml(path).items():
        values = copy.deepcopy(default)
        set_keys(values, {key: value}, known=default | whole(default))
        assert whole(values) != whole(default), key


@pytest.mark.parametrize("name", NAMES)
def test_notebook_parameters_exist_in_their_notebooks(name: str):
    for stem, values in params_of(name).notebooks.items():
        assert set(values) <= set(notebooks.read_defaults(NOTEBOOKS / f"{stem}.ipynb"))


# notebooks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_notebooks_are_canonical(path: Path):
    text = path.read_text(encoding="utf-8")
    assert notebooks.serialize(nbformat.reads(text, as_version=4)) == text, f"run: facedistill notebook --normalize {path.stem}"
    notebooks.read_defaults(path)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_notebooks_show_and_leave_the_work_to_the_package(path: Path):
    cells = notebooks.read_notebook(path).cells
    code = [cell.source for cell in cells if cell.cell_type == "code"]
    assert cells[0].cell_type == "markdown" and cells[0].source.startswith("# ")
    assert len(code) <= MAX_CODE_CELLS
    kinds = [type(node) for source in code for node in ast.walk(ast.parse(source))]
    assert {ast.FunctionDef, ast.ClassDef}.isdisjoint(kinds)
    assert any(isinstance(node, ast.Assert) for node in ast.parse(code[-1]).body), "the last cell asserts the title's claim"
    for source in code:
        assert source.count("save_figure(") == source.count("show(save_figure("), "a figure has its caption"


def test_a_changed_setting_of_students_trains_them_anew():
    # Variants and the students of other teachers are of a student of their own; the latter are told what they learn from.
    unread = {"distill": set(), "ablate": {"students"}, "teachers": {"students", "data", "feature_layers"}}
    for name in (name for name in stages() if base(name) in unread):
        message = {key.split(".")[1] for key in params_keys(stages()[name]) if key.startswith("distill.")}
        assert message == set(DistillParams.model_fields) - unread[base(name)], name


# README -------------------------------------------------------------------------------------------------------------


@cache
def readme() -> str:
    path = ROOT / "README.md"
    assert path.is_file(), "README.md is missing"
    return path.read_text(encoding="utf-8")


def map_rows() -> list[dict[str, str]]:
    """The rows of the table that maps figures and tables to notebooks, stages and commands; column names in lower case."""
    for table in re.findall(r"(?:^\|.*\|[ \t]*\n)+", readme(), flags=re.MULTILINE):
        head, _, *rows = [[cell.strip(" `") for cell in row.strip().strip("|").split("|")] for row in table.splitlines()]
        names = [name.lower() for name in head]
        if {"notebook", "stage", "command"} <= set(names):
            return [dict(zip(names, row, strict=True)) for row in rows]
    raise AssertionError("README.md has no table with the columns Notebook, Stage and Command")


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def snippets() -> list[str]:
    """Every line of every code block, and every inline code."""
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", readme(), flags=re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", readme(), flags=re.MULTILINE | re.DOTALL))
    return [line.strip() for block in blocks for line in block.splitlines()] + inline


def test_readme_maps_every_notebook():
    rows = map_rows()
    link = re.compile(r"(?:notebooks/)?(\w+)(?:\.ipynb)?")
    mapped = {link.search(row["notebook"].strip("[`")).group(1): row for row in rows}
    assert set(mapped) == {path.stem for path in SOURCES}
    names = {made_by(stage): name for name, stage in stages().items()}
    for stem, row in mapped.items():
        assert row["stage"] == names[stem]
        assert row["command"].split() == ["dvc", "repro", names[stem]]


@pytest.mark.parametrize("name", [*NAMES, *RUNS])
def test_every_named_change_of_a_configuration_changes_something(name: str):
    params = params_of(name)
    own = {teacher: choice for teacher, choice in params.teachers.items() if isinstance(choice, InternalTeacher)}
    for named, entry in [*params.ablate.variants.items(), *own.items()]:
        assert not entry.set or with_overrides(params, entry.set) != params, named


def test_all_variants_of_the_full_grid_were_run():
    assert set().union(*(params_of(name).ablate.variants for name in RUNS)) == set(params_of("release").ablate.variants)


def test_readme_commands_exist():
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    known |= {group.name for group in cli.app.registered_groups}
    assert isinstance(cli.app, typer.Typer) and known
    names = {base(name) for name in stages()} | set(stages())
    used = set()
    for line in snippets():
        used |= (made := set(re.findall(r"\bmake ([a-z-]+)", line)))
        assert made <= make_targets(), line
        assert set(re.findall(r"(?:^|bin/|-m )facedistill ([a-z]+)", line)) <= known, line
        if found := re.search(r"\bdvc repro ((?:[\w@-]+ ?)+)", line):
            assert {word for word in found.group(1).split() if not word.startswith("-")} <= names, line
    assert {"repro", "test"} <= used


def test_every_value_that_readme_sets_is_taken(tmp_path):
    message = [setting for line in snippets() for setting in re.findall(r"-S (\S+)", line)]
    assert "distill.losses.velocity=0" in message
    for setting in message:
        path = Path(shutil.copy(PARAMS, tmp_path / "params.yaml"))
        apply_overrides(path, [setting])  # as `dvc exp run -S` does
        assert load_params(path) != load_params(PARAMS)
