import pytest
import yaml

from facedistill.core.errors import InputError
from facedistill.core.params import load_params
from facedistill.core.paths import PARAMS, PROFILES


@pytest.mark.parametrize("path", [PARAMS, *sorted(PROFILES.glob("*.yaml"))], ids=lambda path: path.stem)
def test_every_profile_is_valid(path):
    load_params(path)


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
    path.write_text(yaml.safe_dump(values))
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
            "distill.students: .* tiny-real-time.start: 'small'; allowed: null, on-device .as many channels.$",
        ),
        ("label", ..., "label: Field required"),
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
