"""What DVC, the notebooks and the README promise is true of the code: dependencies, parameters, names and commands."""

import ast
import copy
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import typer
import yaml
from configurations import NAMES, RUNS, params_of, values_of
from dvc.repo import Repo
from dvc.utils.hydra import apply_overrides

from facedistill import cli, notebooks
from facedistill.core.files import read_json
from facedistill.core.params import LEARNERS, SHARED, changed, load_params, set_keys, whole
from facedistill.core.paths import CONFIGS, FIGURES, NOTEBOOKS, PARAMS, ROOT
from facedistill.core.sections import DistillParams, OwnTeacher
from facedistill.drawing.numbers import quoted_numbers
from facedistill.real_speech.names import WEIGHTED

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
        assert f"def {command}(" in (PACKAGE / f"{command}.py").read_text(encoding="utf-8")
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
        alike = changed(params, params.ablate.variants[baseline].set).ablate.student
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
        told = {key.split(".")[1] for key in params_keys(stages()[name]) if key.startswith("distill.")}
        assert told == set(DistillParams.model_fields) - unread[base(name)], name


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


def test_readme_opens_with_the_numbers_of_table_1():
    summary = (FIGURES / "tab1_main_results.md").read_text(encoding="utf-8").splitlines()[0]
    assert " ".join(summary.split()) in " ".join(readme().split())


def test_quoted_numbers_are_those_of_the_tables():
    assert read_json(FIGURES / "numbers.json") == quoted_numbers()


QUOTES = (
    "the released student of {models/on-device/parameters} parameters closes the lips in",
    "closes the lips in {recordings/on-device/weighted-pbm} % of all /p b m/ where 5 % of the vowels pass for closed",
    "its lips tell /p b m/ from vowels with an AUC of {recordings/on-device/weighted-auc}. A mouth that follows",
    "loudness reaches {recordings/amplitude-envelope/weighted-pbm} % and {recordings/amplitude-envelope/weighted-auc}.",
    "the AUC is {recordings/on-device/mean-auc}",
    "which sees 64 ms ahead, {recordings/tiny-real-time/mean-auc}",
    "alone reaches {table-1/amplitude-envelope/pbm} at that (with a correlation of {table-1/amplitude-envelope/lip_gap_r})",
    "it is {table-1/on-device/pbm_fixed} for the student, {table-1/teacher/pbm_fixed} for the teacher and "
    "{table-1/amplitude-envelope/pbm_fixed} for loudness",
    "knows meshes alone, no curves and no lips, and reaches {table-4/mesh/teacher_lip_gap_r}",
    "which keep {table-4/mesh/variance} % of the variance",
    "one of its meshes follows the lips with {table-4/mesh/student_lip_gap_r}",
    "as smoothly: {page/least} to {page/most} frames a second on two cores",
    "drawn and encoded at {films/plain} frames a second on two cores, at {films/with-strip} with the strip",
    "dense training is {dense-training/least} to {dense-training/most} times as fast",
    "the teacher of MFCC reaches {table-4/mfcc/teacher_lip_gap_r} and its student {table-4/mfcc/student_lip_gap_r}, "
    "that of HuBERT {table-4/hubert/teacher_lip_gap_r} and {table-4/hubert/student_lip_gap_r}",
    "benchmarks/what_works.md): {what-works/runs} short runs",
    "Without synthetic speech AUC falls from {what-works/baseline/AUC} to {what-works/without synthetic speech/AUC}",
    "with ten of its 60 voices to {what-works/ten of 60 synthetic voices/AUC}",
    "{what-works/synthetic speech alone/r} for synthetic speech alone",
    "{what-works/without aligned recordings/r} with recordings whose phones are given",
    "{what-works/baseline/r} with aligned ones too",
    "Without augmentation AUC is {what-works/no augmentation/AUC, level-30db} at -30 dB, where the baseline has "
    "{what-works/baseline/AUC, level-30db}",
    "is {table-3/tiny-real-time-int8/weights_mb} MB of weights",
    "needs {table-3/tiny-real-time-int8/working_mb} MB of working memory",
    "core {table-3/tiny-real-time-int8/pushes_60_ms_per_s} ms when it comes in 60 chunks a second, "
    "{table-3/tiny-real-time-int8/pushes_10_ms_per_s} ms in ten, {table-3/tiny-real-time-int8/offline_ms_per_s} ms as a whole, "
    "and {table-3/tiny-real-time-int8/windows_ms_per_s} ms window by window",
    "costs {table-3/tiny-real-time/offline_ratio} of window by window as a whole, "
    "{table-3/tiny-real-time/pushes_10_ratio} in ten chunks a second, "
    "{table-3/tiny-real-time/pushes_30_ratio} in 30 and {table-3/tiny-real-time/pushes_60_ratio} in 60",
    "A frame is up to {table-3/tiny-real-time-int8/delay_ms} ms late",
    "int8 keeps {table-3/tiny-real-time-int8/r_ratio} of the lip-gap correlation",
    "its PBM accuracy differs by {table-3/tiny-real-time-int8/pbm_difference}",
)


@pytest.mark.parametrize("quote", QUOTES)
def test_readme_quotes_the_numbers_of_the_tables(quote):
    numbers = read_json(FIGURES / "numbers.json")
    assert re.sub(r"{([^}]+)}", lambda name: numbers[name[1]]["text"], quote) in " ".join(readme().split())


def test_readme_tells_what_the_stages_took():
    numbers, rows = read_json(FIGURES / "numbers.json"), {}
    for line in readme().splitlines():
        if match := re.fullmatch(r"\| `(\w+)` \| .* \| ([\w ]+) \|", line):
            rows[match[1]] = match[2]
    assert rows.pop("check") == "under 1"
    assert rows == {name: numbers[f"minutes/{name}"]["text"] for name in cli.STAGES if name != "notebook"}
    assert sum(numbers[f"minutes/{name}"]["value"] for name in cli.STAGES) < 60, "under 1 h"


def test_readme_counts_the_recordings_and_the_voices_of_the_corpus():
    details, params = read_json(ROOT / "benchmarks" / "real_speech" / "details.json"), load_params().prepare.synthetic
    counts = [source["n_recordings"] for source in details["recordings"].values()]
    english, text = details["systems"]["on-device"]["languages"]["en"], " ".join(readme().split())
    assert f"Most of these recordings, {max(counts)} of {sum(counts)}, are by one Portuguese speaker" in text
    assert len(counts) == 6 and f"The English sources have few /p b m/ ({english['n']} in all)" in text
    assert f"speech in {len(params.languages) + len(params.unseen_languages)} languages with exact phone times" in text
    assert f"espeak-ng speaks in {sum(params.voices.model_dump().values())} voices" in text


RELEASE_QUOTES = (
    "with 64 ms of it the correlation changes by {tab2_ablations/future-64ms/lip_gap_r_gain}, without any by "
    "{tab2_ablations/future-0ms/lip_gap_r_gain}. In three seeds that is {seeds/tab2_ablations/future-64ms/lip_gap_r_gain} and "
    "{seeds/tab2_ablations/future-0ms/lip_gap_r_gain}.",
    "without it the correlation changes by {tab2_ablations/no-feature-loss/lip_gap_r_gain}, with three times as much of it by "
    "{tab2_ablations/feature-loss-x3/lip_gap_r_gain}, with one layer of it by "
    "{tab2_ablations/feature-loss-one-layer/lip_gap_r_gain}. In three seeds: "
    "{seeds/tab2_ablations/no-feature-loss/lip_gap_r_gain} without it.",
    "128 ms change the correlation by {tab2_ablations/window-128ms/lip_gap_r_gain} against 512 ms with as much future",
    "Without the velocity loss jitter changes by {tab2_ablations/no-velocity-loss/jitter_gain}.",
    "(closure AUC {tab2_ablations/closed-frames-x4/closure_auc_gain})",
    "a hundredth of the labels changes the correlation by {tab2_ablations/labels-1pct/lip_gap_r_gain}, five voices by "
    "{tab2_ablations/voices-5/lip_gap_r_gain}, one language by {tab2_ablations/languages-1/lip_gap_r_gain}; in three seeds by "
    "{seeds/tab2_ablations/labels-1pct/lip_gap_r_gain}, {seeds/tab2_ablations/voices-5/lip_gap_r_gain} and "
    "{seeds/tab2_ablations/languages-1/lip_gap_r_gain}.",
    "Of recordings alone the correlation changes by {recordings/tab2_ablations/recordings-only/lip_gap_r_gain} on synthetic "
    "voices, of synthetic speech alone by {recordings/tab2_ablations/synthetic-only/lip_gap_r_gain}.",
    "a correlation of {recordings/tab4_teachers/facegood/correlation} [{recordings/tab4_teachers/facegood/correlation_low}, "
    "{recordings/tab4_teachers/facegood/correlation_high}]",
    "explains {recordings/tab4_teachers/facegood/explained} [{recordings/tab4_teachers/facegood/explained_low}, "
    "{recordings/tab4_teachers/facegood/explained_high}] of its variance",
)


def release_text() -> str:
    return " ".join((FIGURES / "release" / "README.md").read_text(encoding="utf-8").split())


@pytest.mark.parametrize("quote", RELEASE_QUOTES)
def test_the_full_grid_quotes_its_tables(quote):
    def told(name: re.Match) -> str:
        table, row, column = name[1].rsplit("/", 2)
        value = pd.read_csv(FIGURES / "release" / f"{table}.csv", index_col=0).loc[row, column]
        if column.startswith("jitter"):
            return f"{value:+.0f}"
        return f"{value:+.3f}" if column.endswith("_gain") else f"{value:.3f}"

    assert re.sub(r"{([^}]+)}", told, quote) in release_text()


def test_the_full_grid_tells_how_chance_rounds_the_mouth():
    runs = read_json(FIGURES / "release" / "seeds" / "ablation_seeds.json")["test-voices"]["baseline"]
    first, second, third = (f"{run['lve_mm']:.2f}" for run in runs.values())
    assert f"The three seeds of the baseline have {first}, {second} and {third} mm" in release_text()


@pytest.mark.parametrize("name", [*NAMES, *RUNS])
def test_every_named_change_of_a_configuration_changes_something(name: str):
    params = params_of(name)
    own = {teacher: choice for teacher, choice in params.teachers.items() if isinstance(choice, OwnTeacher)}
    for named, entry in [*params.ablate.variants.items(), *own.items()]:
        assert not entry.set or changed(params, entry.set) != params, named


def test_all_variants_of_the_full_grid_were_run():
    variants = {name: set(params_of(name).ablate.variants) for name in ["default", "release", *RUNS]}
    n_all, n_default = len(variants["release"]), len(variants["default"])
    assert set().union(*(variants[name] for name in RUNS)) == variants["release"]
    assert f"| {n_default} variants of a student" in readme()
    n_run = len(variants["figures/release/config.yaml"])
    assert f"has {n_run} of the {n_all} variants of `configs/release.yaml`" in release_text()
    assert f"where the default has {n_default} on synthetic speech" in release_text()


def test_what_readme_says_of_chance_is_what_three_seeds_say():
    folder = FIGURES / "release" / "seeds"
    table = pd.read_csv(folder / "tab2_ablations.csv", index_col=0)
    ends = table[[f"lip_gap_r_gain{end}" for end in ("", "_low", "_high")]]
    gain, text = ends["lip_gap_r_gain"], " ".join(readme().split())
    seeds = read_json(folder / "ablation_seeds.json")["test-voices"]
    spread = {name: max(values) - min(values) for name in seeds if (values := [run["lip_gap_r"] for run in seeds[name].values()])}
    assert len(seeds["baseline"]) == 3 and f"lie up to {max(spread.values()):.3f} of correlation apart" in text
    assert "it loses {:.3f} [{:.3f}, {:.3f}]".format(*ends.loc["no-feature-loss"]) in text
    assert (
        f"half the width loses {-gain['channels-64']:.3f}, 64 ms of future lose {-gain['future-64ms']:.3f} against 256, none "
        f"{-gain['future-0ms']:.3f} ([figure 4](figures/fig4_lookahead.png)), and one language of "
        f"{len(load_params().prepare.synthetic.languages)} loses "
        f"{-gain['languages-1']:.3f}; with fewer labels or voices it is the same to "
        f"{gain.filter(regex='^(labels|voices)-').abs().max():.3f}."
    ) in text
    brings = [seeds["no-lips-loss"][seed]["lve_mm"] - run["lve_mm"] for seed, run in seeds["baseline"].items()]
    assert f"it brings {table.loc['no-lips-loss', 'lve_mm_gain']:.2f} mm in the mean, nearly all of it in one" in text
    assert max(brings) > 0.9 * sum(brings) > 0, "in one seed, nearly all of it"


def test_readme_tells_the_error_that_the_headline_leaves_out():
    table = pd.read_csv(FIGURES / "tab1_main_results.csv").set_index(["split", "system"]).loc["test-voices", "lve_mm"]
    told = "is {on-device:.2f} mm for the student and {teacher:.2f} for the teacher".format(**table)
    assert told in " ".join(readme().split())


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
    told = [setting for line in snippets() for setting in re.findall(r"-S (\S+)", line)]
    assert "distill.losses.velocity=0" in told
    for setting in told:
        path = Path(shutil.copy(PARAMS, tmp_path / "params.yaml"))
        apply_overrides(path, [setting])  # as `dvc exp run -S` does
        assert load_params(path) != load_params(PARAMS)


def test_readme_says_what_noise_and_silence_do_to_released_models():
    systems = read_json(ROOT / "benchmarks" / "real_speech" / "details.json")["systems"]
    released = {path.stem: systems[path.stem] for path in (ROOT / "models").glob("*/*.onnx") if not path.stem.endswith("-window")}
    assert {"on-device", "on-device-int8", "real-time-float16", "tiny-real-time", "tiny-real-time-int8"} <= set(released)
    for facts in released.values():
        auc = {name: groups[WEIGHTED]["auc"]["value"] for name, groups in facts["conditions"].items()}
        assert min(auc.values()) >= 0.95 * auc["clean"], "loses more than 5 % of its AUC"
        assert max(quiet["gap_mm"] for quiet in facts["quiet"].values()) <= 0.1, "stay within 0.1 mm of rest"

    def jitter(word: str, *sounds: str) -> str:
        found = [facts["quiet"][sound]["jitter_ratio"] for name, facts in released.items() if word in name for sound in sounds]
        return f"{100 * max(found):.0f} %"

    text = " ".join(readme().split())
    assert (
        f"`on-device` then jitters by up to {jitter('on-device', 'silence', 'room-60dbfs', 'room-50dbfs', 'room-40dbfs')}" in text
    )
    assert f"the real-time ones by up to {jitter('real-time', 'room-50dbfs')} in noise of -50 dB" in text
    assert f"and {jitter('real-time', 'room-40dbfs')} in noise of -40 dB" in text
