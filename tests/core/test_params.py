import resource
import subprocess
import sys

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.params import load_params, read_yaml, with_overrides
from facedistill.core.paths import PARAMS
from facedistill.core.sections import N_VARIANTS, WINDOWS_MS, StudentParams
from facedistill.models.student import StudentConfig
from facedistill.speech.espeak import VARIANTS


def test_limits_agree_with_the_code_they_protect():
    assert len(VARIANTS) == N_VARIANTS
    for window_ms in WINDOWS_MS:
        student = StudentParams(channels=8, window_ms=window_ms, future_ms=0, start=None, steps=1)
        StudentConfig(channels=8, past_ms=student.past_ms, future_ms=student.future_ms, dilations=student.dilations)


def written(tmp_path, key: str, value: object):
    """params.yaml with one key set; the value `...` removes it."""
    values = yaml.safe_load(PARAMS.read_text())
    section, *parts = [values, *key.split(".")]
    for part in parts[:-1]:
        section = section[part]
    if value is ...:
        del section[parts[-1]]
    else:
        section[parts[-1]] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_misspelt_key_is_named_before_all_else_with_the_nearest_right_one(tmp_path):
    text = PARAMS.read_text(encoding="utf-8").replace("seed: 1 ", "seed: -1 ", 1)
    (tmp_path / "params.yaml").write_text(text.replace("    velocity: ", "    velocty: ", 1), encoding="utf-8")
    with pytest.raises(
        InputError, match=r"params.yaml: (teach|distill).losses.velocty: no such key; expected velocity \(and 2 more\)$"
    ):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("distill.losses.velocty", 1.0, "distill.losses.velocty: no such key; expected velocity$"),
        ("distill.losses.x", 1.0, "distill.losses.x: no such key$"),
        ("augment.nois", 0.5, "params.yaml: augment.nois: no such key; expected noise$"),
        ("augment.noise", 1.5, "params.yaml: augment.noise: Input should be less than or equal to 1, got 1.5$"),
        ("augment.noise", ..., "params.yaml: augment.noise: Field required$"),
        ("augment", ..., "params.yaml: augment: Field required$"),
        ("augmnt", {}, "params.yaml: augmnt: no such key; expected augment$"),
        ("optimizer", None, "params.yaml: optimizer: Input should be an object, got None$"),
        ("distill.augment.nois", 0.5, "params.yaml: distill.augment.nois: no such key; expected noise$"),
        ("teach.optimizer.learningrate", 0.5, "teach.optimizer.learningrate: no such key; expected learning_rate$"),
        ("align.augment", None, "align.augment: Input should be an object, got None$"),
        ("align", [], "params.yaml: align: Input should be an object, got ..$"),
        ("teach.steps", 0, "teach.steps: Input should be greater than or equal to 1, got 0"),
        ("teach.optimizer.learning_rate", "fast", "teach.optimizer.learning_rate: Input should be a valid number"),
        ("teach.augment.noise", 1.5, "teach.augment.noise: Input should be less than or equal to 1"),
        (
            "teach.augment.snr_db",
            [40, 5],
            "teach.augment.snr_db: Value error, the first value must not be above the second, got .40, 5.",
        ),
        (
            "distill.students.tiny-real-time.start",
            "small",
            "distill.students: .* tiny-real-time.start: 'small'; expected null, on-device .as many channels, as long a wi",
        ),
        ("label", ..., "label: Field required"),
        ("seed", "1", "seed: Input should be a valid integer"),
        ("teach.encoder.trainable", "yes", "teach.encoder.trainable: Input should be a valid boolean"),
        ("teach.encoder.width", 100, "teach.encoder: .*width: 100; expected multiples of 16"),
        ("teach.augment.speed", [0, 1], "teach.augment.speed.0: Input should be greater than 0"),
        ("teach.augment.gain_db", [float("nan"), 1], "teach.augment.gain_db.0: Input should be a finite number"),
        ("prepare.synthetic.hours.test", float("inf"), "prepare.synthetic.hours.test: Input should be a finite number"),
        ("prepare.synthetic.languages", [], "prepare.synthetic.languages: Tuple should have at least 1 item"),
        ("prepare.synthetic.languages", ["ro"], "prepare.synthetic: .*'ro' is in languages too"),
        ("prepare.synthetic.voices.paired", 41, "prepare.synthetic.voices: .*71 voices; expected at most 70"),
        ("prepare.synthetic.rate_wpm", [10, 200], "prepare.synthetic.rate_wpm.0: Input should be greater than or equal to 80"),
        ("distill.students.small.window_ms", 500, "small.window_ms: .*expected 64, 128, 256, 512, 1024, 2048, .*got 500"),
        ("distill.students.small.future_ms", 600, "distill.students.small: .*future_ms: 600; expected at most window_ms, 512"),
        ("distill.data.hours_ratio", 0.0, "distill.data.hours_ratio: Input should be greater than 0"),
        ("distill.data.labels", "magic", "distill.data.labels: Input should be 'teacher' or 'paired'"),
        ("distill.students.small.start", "real-time", "distill.students: .* small.start: 'real-time'; expected null .as many"),
        ("distill.students.small", ..., "distill.students: .* no student 'small'"),
        ("ablate.variants.baseline.set", {"seed": 2}, "variants.baseline: missing or not empty; expected `set: {}`"),
        ("ablate.variants.paired-only.why", None, "variants.paired-only: .*why: missing; expected a variant of 3 keys says why"),
        (
            "ablate.variants.no-velocity-loss.set",
            {"distill.losses.speed": 0},
            "no-velocity-loss.set: no key 'distill.losses.speed'; expected distill.losses.",
        ),
        (
            "ablate.variants.no-velocity-loss.set",
            {"seed.x": 0},
            "no-velocity-loss.set: 'seed.x' has no effect here; expected ablate.student.* or distill.*",
        ),
        ("ablate.variants.no-velocity-loss.set", {"distill.losses.velocity": -1}, "set: distill.losses.velocity: Input should"),
        ("ablate.variants.no-velocity-loss.set", {"teach.steps": 7}, "'teach.steps' has no effect here; expected ablate.student"),
        ("ablate.variants.no-velocity-loss.set", {"distill.students.small.steps": 7}, "steps' has no effect here"),
        ("ablate.seeds", [1, 1], "ablate: .*seeds: .1, 1.; expected each once"),
        ("teachers.mfcc.set", {"distill.filters": 8}, "teachers.mfcc.set: 'distill.filters' has no effect here; expected teach"),
        ("teachers.mfcc.set", {"teach.stepz": 8}, "teachers.mfcc.set: no key 'teach.stepz'; expected teach.steps"),
        ("teachers.mfcc.set", {"augment.noise": 0.5}, "'augment.noise' has no effect here; expected teach.*"),
        ("ablate.variants.no-velocity-loss.set", {"optimizer.batch_size": 1}, "'optimizer.batch_size' has no effect here"),
        ("teachers.mfcc.kind", "theirs", "teachers.mfcc: Input tag 'theirs' found using 'kind' does not match any of"),
        ("teachers.mfcc.components", 0, "teachers.mfcc.ours.components: Input should be greater than or equal to 1"),
        ("ablate.student.start", "small", "ablate: .*student.start: 'small'; expected null"),
        ("evaluate.baselines", ["nope"], "evaluate.baselines: 'nope'; expected channels-512, "),
        ("evaluate.baselines", ["baseline"], "evaluate.baselines: 'baseline'; expected channels-512, "),
        ("evaluate.smoothed", "nope", "evaluate.smoothed: 'nope'; expected on-device, real-time"),
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
    ],
)
def test_wrong_values_are_named_in_one_line(tmp_path, key, value, message):
    with pytest.raises(InputError, match=message) as caught:
        load_params(written(tmp_path, key, value))
    assert "params.yaml" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["a: [", "", "- 1", "\x00"])
def test_what_is_not_a_parameter_file_is_refused(tmp_path, content):
    path = tmp_path / "params.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match="params.yaml") as caught:
        load_params(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        load_params(tmp_path / "none.yaml")


@pytest.mark.parametrize("line", ["seed: 1", "  losses:", "    baseline:"])
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path, line):
    text = PARAMS.read_text(encoding="utf-8")
    path, key = tmp_path / "params.yaml", line.strip().split(":")[0]
    path.write_text(text.replace(f"\n{line}", f"\n{line}\n{line}", 1))
    with pytest.raises(InputError, match=rf"params.yaml: cannot be read as YAML \('{key}' stands 2 times.* line \d+"):
        load_params(path)


PLAIN = "anchors, aliases and tags are not read; expected plain values"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: &a [*a]", PLAIN),
        ("a: &a 1\nb: *a", PLAIN),
        (BOMB, PLAIN),
        ("a: {<<: {b: 1}, b: 2, <<: {c: 1}}", "'<<' stands 2 times"),
        ("a: !!python/object:os.system x", PLAIN),
        ("a: !!timestamp x", PLAIN),
        ("a: !!binary x", PLAIN),
        ("! a", PLAIN),
        ("[" * 10_000, "recursion"),
        ("- " * 10_000, "recursion"),
        ("1: a", "a key that is no text; expected text, in quotes if it looks like something else"),
        ("no: a", "a key that is no text"),
        ("? [a]\n: b", "a key that is no text"),
        ("? {a: b}\n: b", "a key that is no text"),
        ("~: a", "a key that is no text"),
        ("seed: " + "1" * 5000, "integer string conversion"),
        ("seed: 0x" + "f" * 5000, "a number of too many digits; expected at most 64 bits"),
        ("seed: 9223372036854775808", "a number of too many digits; expected at most 64 bits"),
        ("seed: 1" + ":00" * 900 + ".5", "too large"),
        ("seed: 0b_", "invalid literal"),
        ('seed: "\\UFFFFFFFF"', "too large"),
        ("seed: \0", "special characters are not allowed"),
        ("seed: \x07", "special characters are not allowed"),
        ("a: 1\n---\nb: 1", "expected a single document"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_yaml_that_is_more_than_plain_values_is_one_line(tmp_path, content, message):
    path = tmp_path / "params.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_params(path)
    assert str(caught.value).startswith(f"{path}: cannot be read as YAML (")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


@pytest.mark.parametrize("content", [b"\xff\xfea\0", b"a: \xe9", b"\x80\x81"])
def test_what_is_not_utf8_is_one_line(tmp_path, content):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(InputError, match="params.yaml: cannot be read as YAML") as caught:
        read_yaml(tmp_path / "params.yaml")
    assert "\n" not in str(caught.value)


def test_plain_values_are_read(tmp_path):
    path = tmp_path / "a.yaml"
    text = "a: 2026-13-45\nb: 2026-01-02\nc: [1, -2, 0x10, 1.5, .inf]\nd: {e: null, f: yes, '1': ~}\n'no': é\n"
    path.write_text("\ufeff" + text, encoding="utf-8")
    wanted = {"a": "2026-13-45", "b": "2026-01-02", "c": [1, -2, 16, 1.5, float("inf")], "d": {"e": None, "f": True, "1": None}}
    assert read_yaml(path) == wanted | {"no": "é"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nseed: 1 ", "\nseed: 2026-13-45 ", "seed: Input should be a valid integer, got '2026-13-45'"),
        ("\nseed: 1 ", "\nseed: .nan ", "seed: Input should be"),
        ("\nseed: 1 ", f"\nseed: {'x' * 5000} ", "seed: Input should be a valid integer, got 'xxx"),
        ("\nseed: 1 ", '\nseed: "\\ud800" ', "Invalid JSON"),
        ("\nseed: 1 ", '\n"a\\nb": 1\nseed: 1 ', "a b: no such key$"),
        ("\n    small:", "\n    ../small:", r"distill.students.../small.*String should match pattern"),
        ("\n    baseline:", "\n    /baseline:", "ablate.variants./baseline.*String should match pattern"),
        ("\n  mfcc:", "\n  ..:", "teachers.*String should match pattern"),
    ],
)
def test_values_that_are_wrong_are_one_short_line(tmp_path, old, new, message):
    text, path = PARAMS.read_text(encoding="utf-8"), tmp_path / "params.yaml"
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        load_params(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_file_that_would_take_seconds_is_not_read(tmp_path):
    (tmp_path / "p.yaml").write_text("a: [" + "1, " * 100_000 + "1]")
    with pytest.raises(InputError, match="p.yaml: 300006 bytes of YAML; expected at most 262144"):
        load_params(tmp_path / "p.yaml")


def test_a_bomb_takes_no_memory(tmp_path):
    """The whole command, in 2 GB of addresses."""
    (tmp_path / "params.yaml").write_text(BOMB)
    code = (
        "import sys; from pathlib import Path; from facedistill import cli; from facedistill.core import params;"
        "params.load_params.__defaults__ = (Path(sys.argv.pop()),); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "notebook", "fig", tmp_path / "params.yaml"], capture_output=True, text=True, check=False,
        timeout=60, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31)),
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'params.yaml'}: cannot be read as YAML ({PLAIN}")
    assert done.stderr.count("\n") == 1


SCRAPS = (
    *(
        "a",
        "b: ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "? ",
        "\n",
        "\n  ",
        "\n\t",
        " ",
        "&a ",
        "*a",
        "'",
        '"',
        "|",
        "> ",
        "%YAML 1.1\n",
    ),
    *(
        "!",
        "!!int ",
        "!!timestamp ",
        "!!binary ",
        "!!python/object:a ",
        "\\x",
        "\\ud800",
        "\\UFFFFFFFF",
        "---",
        "...",
        "<<: ",
        "=",
    ),
    *("~", "null", "no", ".nan", "-.inf", "1_0", "0x_", "08", "1:60", "2026-13-45", "1" * 5000, "0x" + "f" * 5000, "1.e+999"),
    *("\0", "\x07", "\x85", "\u2028", "\ufeff", "\ud800", "é", "#", "@", "`", "seed: ", "1" + ":00" * 900 + ".5", "%TAG ! x\n"),
)
LINES = PARAMS.read_text(encoding="utf-8").splitlines(keepends=True)
TEXTS = st.lists(st.sampled_from(SCRAPS), max_size=20).map("".join)
SPOILT = st.builds(
    lambda line, text: "".join([*LINES[:line], text, *LINES[line:]]),
    st.integers(0, len(LINES)),
    st.lists(st.sampled_from(SCRAPS), min_size=1, max_size=3).map("".join),
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("[" * 10_000)
@given(st.one_of(TEXTS, SPOILT, st.text(max_size=50)))
def test_any_text_is_a_value_or_one_line(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    for read in (read_yaml, load_params):
        try:
            read(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error)


def test_a_change_touches_its_key_alone_and_is_checked():
    params = load_params()
    other = with_overrides(params, {"distill.losses.velocity": 0, "seed": 7})
    assert other.distill.losses.velocity == 0 and other.seed == 7
    assert with_overrides(other, {"distill.losses.velocity": params.distill.losses.velocity, "seed": params.seed}) == params
    assert with_overrides(params, {}) == params
    with pytest.raises(InputError, match="distill.losses.velocity: Input should be greater than or equal to 0, got -1"):
        with_overrides(params, {"distill.losses.velocity": -1})


@pytest.mark.parametrize("window_ms, dilations", [(64, (1,)), (128, (1, 2)), (512, (1, 2, 4, 8)), (1024, (1, 2, 4, 8, 16))])
def test_dilations_double_until_they_fill_the_window(window_ms, dilations):
    student = StudentParams(channels=8, window_ms=window_ms, future_ms=64, start=None, steps=1)
    assert student.dilations == dilations
    assert student.past_ms == window_ms - 64
