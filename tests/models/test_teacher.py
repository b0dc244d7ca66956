import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from damage import SOME_DAMAGES
from transformers import HubertConfig, HubertModel

from facedistill.core.errors import InputError
from facedistill.core.manifest import read_manifest
from facedistill.models.encoder import build_encoder, encode_at, save_encoder
from facedistill.models.teacher import Teacher, build_teacher, load_teacher, mesh_basis, save_teacher
from facedistill.pipeline import label as label_stage
from facedistill.pipeline import teach as teach_stage
from facedistill.pipeline.label import label
from facedistill.pipeline.teach import teach
from facedistill.rig.curves import n_frames, read_curves
from facedistill.speech.phones import read_phones


@pytest.fixture
def hub_checkpoint(tmp_path) -> str:
    """A HuBERT as the hub has them, with its seven convolutions, only tiny."""
    config = HubertConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    torch.manual_seed(0)
    HubertModel(config).save_pretrained(tmp_path / "hubert")
    return str(tmp_path / "hubert")


@pytest.fixture
def data(corpus_folder, monkeypatch, tmp_path):
    for module in (teach_stage, label_stage):
        monkeypatch.setattr(module, "DATA", corpus_folder.parent)
    monkeypatch.setattr("facedistill.models.training.WORK", tmp_path / "work")
    return corpus_folder.parent


def with_source(params, source: str):
    encoder = params.teach.encoder.model_copy(update={"source": source})
    return params.model_copy(update={"teach": params.teach.model_copy(update={"encoder": encoder})})


def test_a_hub_hubert_teaches_and_labels(smoke_params, hub_checkpoint, data):
    """What configs/paper.yaml does, on a HuBERT with the hub's layout."""
    params = with_source(smoke_params, hub_checkpoint)
    teach(params)
    label(params)
    rows = read_manifest(data / "label" / "manifest.jsonl")
    curves = read_curves(data / "label", rows)
    assert len(rows) == 5
    for row in rows:
        assert curves[row.id].shape == (n_frames(round(row.duration_s * 16_000)), 52)
        assert (data / "label" / row.audio).is_file()
        sound = read_phones(data / "label" / row.phones)
        assert sound[0].start_s == 0 and sound[-1].end_s == pytest.approx(len(curves[row.id]) / 60, abs=1e-5)
        assert 0 <= curves[row.id].min() and curves[row.id].max() <= 1


def test_teaching_twice_gives_the_same_bytes(smoke_params, data):
    params = with_source(smoke_params, "scratch")
    teach(params)
    first = (data / "teach" / "model.safetensors").read_bytes()
    teach(params)
    assert (data / "teach" / "model.safetensors").read_bytes() == first


def test_labelling_resumes_shard_by_shard(smoke_params, data, monkeypatch):
    params = with_source(smoke_params, "scratch").model_copy(
        update={"label": smoke_params.label.model_copy(update={"shard_utterances": 2})}
    )
    teach(params)
    label(params)
    whole = {path.name: path.read_bytes() for path in (data / "label" / "curves").iterdir()}
    animated, predict = [], Teacher.predict

    def dies(self, audio, chunk_s):
        animated.append(len(audio))
        if len(animated) == 4:
            raise KeyboardInterrupt
        return predict(self, audio, chunk_s)

    monkeypatch.setattr(Teacher, "predict", dies)
    with pytest.raises(KeyboardInterrupt):
        label(params)
    label(params)
    assert len(animated) == 4 + 3  # the first shard of two is not made again
    assert {path.name: path.read_bytes() for path in (data / "label" / "curves").iterdir()} == whole


def test_a_broken_shard_is_labelled_again(smoke_params, data, monkeypatch, caplog, tmp_path):
    params = with_source(smoke_params, "scratch").model_copy(
        update={"label": smoke_params.label.model_copy(update={"shard_utterances": 2})}
    )
    teach(params)
    label(params)
    whole = {path.relative_to(data): path.read_bytes() for path in (data / "label").rglob("*.*")}
    monkeypatch.setattr(label_stage, "remove_checkpoints", lambda *_: None)
    label(params)
    animated, predict = [], Teacher.predict
    monkeypatch.setattr(Teacher, "predict", lambda self, *text, **more: animated.append(1) or predict(self, *text, **more))
    states = sorted((tmp_path / "work").glob("label-*/*.pt"))
    for path, damage in zip(states[1:], (SOME_DAMAGES["flipped"], SOME_DAMAGES["empty"]), strict=True):
        path.write_bytes(damage(path.read_bytes()))
    label(params)
    assert len(animated) == 3  # the shards of two and of one utterance
    assert [message.split(": ")[0] for message in caplog.messages] == [str(path) for path in states[1:]]
    assert {path.relative_to(data): path.read_bytes() for path in (data / "label").rglob("*.*")} == whole


@pytest.mark.parametrize("how", ["cut", "empty", "zeroed"])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_broken_encoder_or_teacher_is_one_line(smoke_params, hub_checkpoint, tmp_path, file, how):
    teach_params = with_source(smoke_params, "scratch").teach
    save_teacher(build_teacher(teach_params), teach_params, tmp_path / "teach")
    sources = with_source(smoke_params, hub_checkpoint).teach.encoder, tmp_path / "teach"
    for load, source, folder in zip(
        (build_encoder, load_teacher), sources, (Path(hub_checkpoint), tmp_path / "teach"), strict=True
    ):
        (folder / file).write_bytes(SOME_DAMAGES[how]((folder / file).read_bytes()))
        with pytest.raises(InputError) as error:
            load(source)
        assert "\n" not in str(error.value) and str(folder) in str(error.value)


@pytest.mark.parametrize(
    ("part", "value"),
    [("encoder", []), ("encoder", None), ("generator", 1), ("hidden_size", "1"), ("hidden_size", None), ("conv_dim", 3)],
)
def test_a_teacher_of_another_form_is_one_line(smoke_params, tmp_path, part, value):
    teach_params = with_source(smoke_params, "scratch").teach
    save_teacher(build_teacher(teach_params), teach_params, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (config if part in config else config["encoder"])[part] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="not a teacher of this version") as error:
        load_teacher(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("source", ["no/such-model", "tests"])
def test_an_encoder_that_is_not_there(smoke_params, source, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # the environment variable is read on import
    with pytest.raises(InputError, match=f"teach.encoder.source: '{source}' cannot be loaded"):
        build_encoder(smoke_params.teach.encoder.model_copy(update={"source": source}))


def test_a_saved_encoder_is_a_source(smoke_params, tmp_path):
    scratch = build_encoder(smoke_params.teach.encoder.model_copy(update={"source": "scratch"})).eval()
    save_encoder(scratch, tmp_path / "encoder")
    loaded = build_encoder(smoke_params.teach.encoder.model_copy(update={"source": str(tmp_path / "encoder")})).eval()
    audio, times_s = torch.randn(1, 16_000), torch.arange(30) / 60
    torch.testing.assert_close(encode_at(loaded, audio, times_s), encode_at(scratch, audio, times_s), atol=2e-2, rtol=0)


def test_a_saved_teacher_does_not_tell_where_its_encoder_lay(smoke_params, tmp_path):
    save_encoder(build_encoder(smoke_params.teach.encoder.model_copy(update={"source": "scratch"})), tmp_path / "encoder")
    teach_params = with_source(smoke_params, str(tmp_path / "encoder")).teach
    save_teacher(build_teacher(teach_params), teach_params, tmp_path / "teach")
    for file in (tmp_path / "teach" / "config.json", tmp_path / "encoder" / "config.json"):
        assert str(tmp_path) not in file.read_text()


@pytest.fixture
def teacher(smoke_params) -> Teacher:
    torch.manual_seed(0)
    return build_teacher(with_source(smoke_params, "scratch").teach).eval()


def test_mesh2rig_starts_as_the_inverse_of_the_face(teacher):
    """The curves it finds make the same face; not always the same curves: left and right cancel where both are set."""
    mesh = torch.rand(4, 52, generator=torch.Generator().manual_seed(0)) @ mesh_basis()
    torch.testing.assert_close(teacher.mesh2rig(mesh) @ mesh_basis(), mesh, atol=0.005, rtol=0)


def test_level_does_not_matter(teacher):
    audio = (np.random.default_rng(0).standard_normal(16_000) * 0.1).astype(np.float32)
    np.testing.assert_allclose(teacher.animate(audio * 3), teacher.animate(audio), atol=1e-4)


def test_any_frame_rate_shows_the_same_motion(teacher):
    audio = (np.random.default_rng(0).standard_normal(24_000) * 0.1).astype(np.float32)
    frames = teacher.predict(audio)[0]
    np.testing.assert_allclose(teacher.animate(audio), frames, atol=1e-6)
    np.testing.assert_allclose(teacher.animate(audio, fps=30), frames[::2], atol=1e-6)


def test_features_stand_where_the_sound_is(teacher):
    """The change that a click makes to the features is centred on its own time."""
    audio = torch.randn(1, 32_000, generator=torch.Generator().manual_seed(0)) * 0.1
    clicked = audio.clone()
    clicked[:, 16_000:16_200] += 1
    times_s = torch.arange(120) / 60
    front = _FrontOnly(teacher.encoder)
    with torch.inference_mode():
        change = (encode_at(front, clicked, times_s) - encode_at(front, audio, times_s)).square().sum(dim=2)[0]
    centre_s = (change * times_s).sum() / change.sum()
    assert centre_s.item() == pytest.approx(16_100 / 16_000, abs=0.012)


class _FrontOnly:
    """The encoder without its transformer, which spreads everything everywhere."""

    def __init__(self, encoder) -> None:
        self.encoder, self.config = encoder, encoder.config

    def __call__(self, audio):
        return SimpleNamespace(last_hidden_state=self.encoder.feature_extractor(audio).transpose(1, 2))


def test_chunks_cover_long_audio(teacher):
    audio = (np.random.default_rng(0).standard_normal(100_003) * 0.1).astype(np.float32)
    curves = teacher.animate(audio, chunk_s=2.0)
    assert curves.shape == (n_frames(len(audio)), 52)
    # Away from chunk borders the context is the same; the level is not, but white noise has one level.
    np.testing.assert_allclose(curves[:60], teacher.animate(audio[:48_000], chunk_s=2.0)[:60], atol=0.05)


@pytest.mark.parametrize("n_samples", [1, 300, 5000])
def test_very_short_audio(teacher, n_samples):
    assert teacher.animate(np.zeros(n_samples, np.float32)).shape == (n_frames(n_samples), 52)


def test_saved_teacher_is_the_same(teacher, smoke_params, tmp_path):
    save_teacher(teacher, smoke_params.teach, tmp_path)
    audio = (np.random.default_rng(1).standard_normal(20_000) * 0.1).astype(np.float32)
    np.testing.assert_array_equal(load_teacher(tmp_path).animate(audio), teacher.animate(audio))
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(InputError, match="not a teacher of this version"):
        load_teacher(tmp_path)


@pytest.mark.parametrize(("free", "rank"), [(0, 52), (8, 60)])
def test_meshes_move_along_the_curves_shapes_and_along_free_directions(smoke_params, free, rank):
    generator = smoke_params.teach.generator.model_copy(update={"n_free_directions": free, "channels": 64})
    teacher = build_teacher(smoke_params.teach.model_copy(update={"generator": generator}))
    features = torch.randn(1, 200, teacher.encoder.config.hidden_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        meshes = teacher.generator(10 * features, torch.zeros(1, generator.latent))[0]
    assert torch.linalg.matrix_rank(meshes, rtol=1e-5) <= rank
    assert teacher.generator.out.weight.shape[1] == rank
    np.testing.assert_array_equal(teacher.generator.out.weight[:, :52].detach(), mesh_basis().T)


def test_a_teacher_of_meshes_alone_keeps_the_inverse_of_the_rig(smoke_params, data):
    """Without losses of curves the layer from mesh to rig gets no gradient and no decay, so that meshes still become curves."""
    params = with_source(smoke_params, "scratch")
    of_curves = dict.fromkeys(("rig", "velocity", "lip_gap", "closure"), 0.0)
    losses = params.teach.losses.model_copy(update=of_curves)
    params = params.model_copy(update={"teach": params.teach.model_copy(update={"losses": losses})})
    teach(params)
    trained, untrained = load_teacher(data / "teach"), build_teacher(params.teach)
    np.testing.assert_allclose(trained.mesh2rig.weight.detach(), untrained.mesh2rig.weight.detach(), rtol=1e-6, atol=1e-9)
