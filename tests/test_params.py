import pytest
import yaml

from facedistill.core.errors import InputError
from facedistill.core.params import N_VARIANTS, STEP_MS, load_params
from facedistill.core.paths import PARAMS, PROFILES
from facedistill.models.student import StudentConfig
from facedistill.speech.espeak import VARIANTS


@pytest.mark.parametrize("path", [PARAMS, *sorted(PROFILES.glob("*.yaml"))], ids=lambda path: path.stem)
def test_every_profile_is_valid(path):
    load_params(path)


def test_limits_agree_with_the_code_they_protect():
    assert len(VARIANTS) == N_VARIANTS
    assert StudentConfig(channels=8, past_ms=STEP_MS * 2, future_ms=STEP_MS, dilations=(1, 1)).window_samples


def changed(tmp_path, key: str, value: object):
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


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("distill.losses.velocty", 1.0, "distill.losses.velocty: Extra inputs are not permitted"),
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
            "distill.students: .* tiny-real-time.start: 'small'; allowed: null, on-device .as many channels, no start of its",
        ),
        ("label", ..., "label: Field required"),
        ("seed", "1", "seed: Input should be a valid integer"),
        ("teach.encoder.trainable", "yes", "teach.encoder.trainable: Input should be a valid boolean"),
        ("teach.encoder.width", 100, "teach.encoder: .*width: 100; allowed: multiples of 16"),
        ("teach.augment.speed", [0, 1], "teach.augment.speed.0: Input should be greater than 0"),
        ("teach.augment.gain_db", [float("nan"), 1], "teach.augment.gain_db.0: Input should be a finite number"),
        ("prepare.synthetic.hours.test", float("inf"), "prepare.synthetic.hours.test: Input should be a finite number"),
        ("prepare.synthetic.languages", [], "prepare.synthetic.languages: Tuple should have at least 1 item"),
        ("prepare.synthetic.languages", ["ro"], "prepare.synthetic: .*'ro' is in languages too"),
        ("prepare.synthetic.voices.paired", 41, "prepare.synthetic.voices: .*71 voices; allowed: at most 70"),
        ("prepare.synthetic.rate_wpm", [10, 200], "prepare.synthetic.rate_wpm.0: Input should be greater than or equal to 80"),
        ("distill.dilations", [1, 2], "distill: .*students.small: a window of 512 ms; allowed: 128 ms"),
        ("distill.students.small.start", "real-time", "distill.students: .* small.start: 'real-time'; allowed: null .as many"),
        ("distill.students.small", ..., "distill.students: .* no student 'small'"),
        ("ablate.variants.paired-only.student", "nope", "ablate.variants.paired-only.student: 'nope'; allowed: small, on-device"),
        ("seed", -1, "seed: Input should be greater than or equal to 0"),
        ("ablate.variants.paired-only.data", "magic", "ablate.variants.paired-only.data: Input should be"),
    ],
)
def test_wrong_values_are_named_in_one_line(tmp_path, key, value, message):
    with pytest.raises(InputError, match=message) as caught:
        load_params(changed(tmp_path, key, value))
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
