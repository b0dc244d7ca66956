"""Films of faces: frames, rate, size and sound as asked, in time with each other, the same bytes every time."""

import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf
from PIL import Image

from facedistill import cli
from facedistill.app.animate import NO_MEMORY
from facedistill.app.render import panel_of
from facedistill.core.errors import InputError
from facedistill.figures.sentence import Example, show_clip
from facedistill.formats import registry
from facedistill.formats.animation import regular
from facedistill.render import film, scene
from facedistill.render.film import ROW_PICTURES, Look, Panel, Strip, draw_frame, render
from facedistill.rig.arkit import CURVES, INDEX, N_CURVES
from facedistill.speech.phones import Phone

LOOK = Look(fps=30.0, size_px=64)
BESIDE = (2 * 64, 64 + 4 + 14)  # the size of two faces with their names and a strip of sound
RATE_HZ = 16_000


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["facedistill", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0


def talking(n_frames: int, seed: int = 0) -> np.ndarray:
    weights = np.zeros((n_frames, N_CURVES), np.float32)
    weights[:, INDEX["jawOpen"]] = np.random.default_rng(seed).uniform(0, 0.6, n_frames)
    return weights


def frames_of(film: Path) -> tuple[dict, np.ndarray]:
    """What ffmpeg says of a film, and its frames (T, H, W, 3)."""
    frames = imageio_ffmpeg.read_frames(str(film))
    metadata = next(frames)
    width, height = metadata["size"]
    return metadata, np.stack([np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in frames])


def sound_of(film: Path) -> np.ndarray:
    """The film's sound as a player hears it, (S,) at RATE_HZ, from the first picture on."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", film, "-f", "f32le", "-ac", "1", "-ar", str(RATE_HZ), "-"]
    return np.frombuffer(subprocess.run(command, capture_output=True, check=True).stdout, np.float32)


def curves_file(path: Path, n_frames: int = 12, fps: float = 30.0, **weights: float) -> Path:
    rows = np.zeros((n_frames, N_CURVES))
    for name, value in weights.items():
        rows[:, INDEX[name]] = value
    path.parent.mkdir(parents=True, exist_ok=True)
    registry.write(path, regular(CURVES, rows, fps))
    return path


def tone(path: Path, duration_s: float = 0.4) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(duration_s * RATE_HZ)) / RATE_HZ), RATE_HZ)
    return path


# Films ----------------------------------------------------------------------------------------------------------------


def test_a_film_has_the_frames_the_rate_the_size_and_the_codecs(tmp_path):
    sound = Strip(np.zeros(8_000, np.float32), RATE_HZ)
    render([Panel("a", talking(15))], tmp_path / "a.mp4", LOOK, sound=sound, workers=1)
    metadata, frames = frames_of(tmp_path / "a.mp4")
    assert (metadata["codec"], metadata["audio_codec"], metadata["fps"], metadata["size"]) == ("h264", "aac", 30.0, (64, 64))
    assert len(frames) == 15 and metadata["pix_fmt"].startswith("yuv420p")


def test_frames_are_the_pictures(tmp_path):
    weights = talking(6)
    render([Panel("a", weights)], tmp_path / "a.mp4", Look(size_px=128), workers=1)
    _, frames = frames_of(tmp_path / "a.mp4")
    for number, frame in enumerate(frames):
        drawn = draw_frame([Panel("a", weights)], number, Look(size_px=128)).astype(int)
        assert np.abs(frame - drawn).mean() < 4, number


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 60.0])
def test_the_mouth_opens_in_the_frame_in_which_the_click_is_heard(tmp_path, fps):
    n_frames, opens = int(1.5 * fps), int(0.9 * fps)
    weights, samples = np.zeros((n_frames, N_CURVES), np.float32), np.zeros(int(n_frames / fps * RATE_HZ), np.float32)
    weights[opens:, INDEX["jawOpen"]] = 0.9
    click = int(opens / fps * RATE_HZ)
    samples[click : click + 400] = 0.8 * np.sin(np.arange(400))
    render([Panel("a", weights)], tmp_path / "a.mp4", Look(fps, 64), sound=Strip(samples, RATE_HZ), workers=1)
    _, frames = frames_of(tmp_path / "a.mp4")
    seen = int(np.argmax(np.abs(np.diff(frames.astype(int), axis=0)).sum((1, 2, 3)))) + 1
    heard_s = int(np.argmax(np.abs(sound_of(tmp_path / "a.mp4")) > 0.2)) / RATE_HZ
    assert seen == opens and abs(heard_s - opens / fps) < 0.5 / fps


def test_the_same_bytes_however_many_processes_draw(tmp_path):
    sound = Strip(np.sin(np.arange(16_000) / 20).astype(np.float32), RATE_HZ, [Phone(0.1, 0.4, "ʃ")])
    panels = [Panel("truth", talking(31)), Panel("small", talking(20, 1))]
    for name, workers in (("one", 1), ("two", 2), ("again", 2)):
        render(panels, tmp_path / f"{name}.mp4", LOOK, sound=sound, strip=True, workers=workers)
    one, two, again = ((tmp_path / f"{name}.mp4").read_bytes() for name in ("one", "two", "again"))
    assert one == two == again
    metadata, frames = frames_of(tmp_path / "one.mp4")
    assert metadata["size"] == BESIDE and len(frames) == 31
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".mp4"] * 3  # nothing temporary is left


def test_what_has_ended_stays(tmp_path):
    short, long = talking(3), talking(9, 1)
    last = draw_frame([Panel("a", short), Panel("b", long)], 8, LOOK)[:, :64]
    assert np.array_equal(last[10:], draw_frame([Panel("a", short), Panel("b", long)], 2, LOOK)[10:, :64])


def test_long_names_stay_on_their_side():
    names = ("a" * 200, "b")
    shown = draw_frame([Panel(name, talking(1)) for name in names], 0, LOOK)
    alone = draw_frame([Panel(name, talking(1)) for name in ("", "b")], 0, LOOK)
    assert np.array_equal(shown[:, 64:], alone[:, 64:]) and not np.array_equal(shown[:4], alone[:4])


def test_sound_beyond_the_faces_is_not_heard(tmp_path):
    render([Panel("a", talking(15))], tmp_path / "a.mp4", LOOK, sound=Strip(np.ones(5 * RATE_HZ, np.float32), RATE_HZ), workers=1)
    assert len(frames_of(tmp_path / "a.mp4")[1]) == 15
    assert len(sound_of(tmp_path / "a.mp4")) == pytest.approx(RATE_HZ / 2, abs=1100)  # a block of AAC is 1024


def test_what_ffmpeg_cannot_do_is_told_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "ENCODING", ("-c:v", "no-such-encoder", "-f", "mp4"))
    with pytest.raises(InputError, match=r"a.mp4: ffmpeg cannot encode it \(.*no-such-encoder"):
        render([Panel("a", talking(99))], tmp_path / "a.mp4", LOOK, workers=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["take:1.mp4", "file:take.mp4", "-take.mp4", "take-%03d.mp4", 'it\'s "one"\n.mp4', "a\\b|c;d.mp4", "\udcff.mp4"]
)
def test_a_film_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    sound = Strip(np.zeros(1_000, np.float32), RATE_HZ)
    render([Panel("a", talking(2))], Path(name), LOOK, sound=sound, workers=1, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    Path(name).rename("plain.mp4")
    assert len(frames_of(Path("plain.mp4"))[1]) == 2


@pytest.mark.parametrize(
    ("script", "text"),
    [("echo 'no more' >&2; exit 3", "no more"), ("exit 3", "exit code 3"), ("kill -9 $$", "Killed"), ("exit 0", "exit code 0")],
)
def test_an_encoder_that_ends_early_is_told(tmp_path, monkeypatch, script, text):
    encoder = tmp_path / "encoder"
    encoder.write_text(f"#!/bin/sh\nhead -c 10 >/dev/null\n{script}\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(film.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(InputError, match=rf"a.mp4: ffmpeg cannot encode it \({text}\)$"):
        render([Panel("a", talking(99))], tmp_path / "out" / "a.mp4", LOOK, workers=1, quiet=True)
    assert not list((tmp_path / "out").iterdir())


def test_an_encoder_that_says_much_is_not_waited_for(tmp_path, monkeypatch):
    encoder = tmp_path / "encoder"
    encoder.write_text("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x >&2\ncat >/dev/null\nexit 1\n")
    encoder.chmod(0o755)
    monkeypatch.setattr(film.imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(encoder))
    with pytest.raises(InputError, match=rf"\(x{{{film.MAX_TOLD}}}\)$"):
        render([Panel("a", talking(30))], tmp_path / "a.mp4", LOOK, workers=1, quiet=True)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, BrokenPipeError])
@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_nothing_stays_of_a_film_that_is_stopped(tmp_path, monkeypatch, stop, name):
    temporary, clips, encoders = tmp_path / "tmp", tmp_path / "clips", []
    temporary.mkdir()
    monkeypatch.setattr(film.tempfile, "tempdir", str(temporary))
    imageio_ffmpeg.get_ffmpeg_exe()  # which at first tries it
    start = subprocess.Popen

    def started(*arguments, **settings) -> subprocess.Popen:
        encoders.append(start(*arguments, **settings))
        return encoders[-1]

    def drawn(panels, number, look, strip):
        if number < 40:
            return draw_frame(panels, number, look, strip)
        assert not list(temporary.iterdir()) and not list(clips.iterdir()), "nor does it where this process is killed now"
        raise stop

    monkeypatch.setattr(film.subprocess, "Popen", started)
    monkeypatch.setattr(film, "draw_frame", drawn)
    with pytest.raises(InputError if stop is BrokenPipeError else stop):
        render(
            [Panel("a", talking(50))], clips / name, LOOK, sound=Strip(np.ones(9_000, np.float32), RATE_HZ), workers=1, quiet=True
        )
    assert len(encoders) == (name == "a.mp4") and all(encoder.returncode == -9 for encoder in encoders)
    assert not list(temporary.iterdir()) and not list(clips.iterdir())


@pytest.fixture
def full_disk():
    """Files take 4 kB, and then no more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("name", "n_samples"), [("a.mp4", 0), ("a.mp4", 9_000), ("a.gif", 0), ("a.png", 0)])
def test_a_full_disk_is_told(tmp_path, full_disk, name, n_samples):
    look, sound = Look(30.0, 256), Strip(np.zeros(n_samples, np.float32), RATE_HZ) if n_samples else None
    with pytest.raises(InputError, match=rf"{name}: .*[Ff]ile too large"):
        render([Panel("a", talking(40))], tmp_path / name, look, sound=sound, workers=1, quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_renderer_that_does_not_start_is_told(monkeypatch):
    class NoRenderer:
        def makeModulePipe(self, name: str) -> None:
            return None

    monkeypatch.setattr(scene.panda, "GraphicsPipeSelection", SimpleNamespace(getGlobalPtr=NoRenderer))
    with pytest.raises(InputError, match="needs libX11"):
        scene._pipe.__wrapped__()


def killed(*_: object) -> None:
    """In place of `_draw`."""
    os.abort()


def test_a_process_that_is_killed_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(film, "_draw", killed)
    with pytest.raises(InputError, match="a process was killed"):
        render([Panel("a", talking(60))], tmp_path / "a.mp4", LOOK, workers=2)


def test_the_strip_moves_with_the_sound():
    samples = np.zeros(RATE_HZ * 2, np.float32)
    samples[RATE_HZ : RATE_HZ + 1600] = 1.0
    strip = Strip(samples, RATE_HZ, [Phone(1.0, 1.1, "a")])
    at_rest, at_the_sound = (draw_frame([Panel("a", talking(60))], number, LOOK, strip)[64:] for number in (2, 31))
    middle = slice(27, 37)
    assert at_the_sound[:, middle].astype(int).sum() > at_rest[:, middle].astype(int).sum() + 1000


def test_gif_and_row_of_pictures(tmp_path):
    render([Panel("a", talking(30))], tmp_path / "a.gif", LOOK, workers=1)
    with Image.open(tmp_path / "a.gif") as gif:
        durations = [gif.seek(number) or gif.info["duration"] for number in range(gif.n_frames)]
        assert len(durations) == 15 and sum(durations) == 1000 and gif.size == (64, 64)
    render([Panel("a", talking(30))], tmp_path / "a.png", LOOK, workers=1)
    assert np.asarray(Image.open(tmp_path / "a.png")).shape == (64, 64 * ROW_PICTURES, 3)


def test_a_clip_in_a_notebook_brings_its_sound():
    example = Example(None, np.zeros(5000, np.float32), [Phone(0.0, 0.1, "a")], talking(20))
    shown = show_clip({"truth": example.truth, "small": talking(20, 1)}, example)
    assert shown.data.startswith('<video controls width="640" src="data:video/mp4;base64,')


# Curves ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24.0, 60.0])
def test_curves_are_shown_at_their_times(tmp_path, fps):
    rows = np.zeros((int(2 * fps), N_CURVES))
    rows[:, INDEX["jawOpen"]] = np.arange(len(rows)) / fps / 2
    registry.write(tmp_path / "a.csv", regular(CURVES, rows, fps))
    panel = panel_of(tmp_path / "a.csv", LOOK)
    seconds = np.minimum(np.arange(len(panel.weights)) / 30, (len(rows) - 1) / fps)
    np.testing.assert_allclose(panel.weights[:, INDEX["jawOpen"]], seconds / 2, atol=1e-6)
    assert panel.name == "a" and np.count_nonzero(panel.weights.any(0)) == 1


# The command ----------------------------------------------------------------------------------------------------------


def test_command_compares_and_shows_the_sound(tmp_path, monkeypatch, capsys):
    first, second = curves_file(tmp_path / "teacher.csv"), curves_file(tmp_path / "small.csv", jawOpen=0.4)
    sound = tone(tmp_path / "a.wav")
    (tmp_path / "a.tsv").write_text("0.0\t0.2\tp\n0.2\t0.4\ta\n", encoding="utf-8")
    out = tmp_path / "out.mp4"
    arguments = ("--compare", first, second, "--sound", sound, "--phones", tmp_path / "a.tsv", "--size", 64, "-o", out)
    assert run(monkeypatch, "render", *arguments) == 0
    metadata, frames = frames_of(out)
    assert metadata["size"] == BESIDE and len(frames) == 12 and metadata["audio_codec"] == "aac"
    assert capsys.readouterr().out.split() == [str(out)]


def test_command_animates_a_recording_first(tmp_path, monkeypatch):
    assert run(monkeypatch, "render", tone(tmp_path / "a.wav"), "--size", 64, "-o", tmp_path / "a.mp4") == 0
    metadata, frames = frames_of(tmp_path / "a.mp4")
    assert len(frames) == 12 and metadata["audio_codec"] == "aac" and metadata["duration"] == pytest.approx(0.4, abs=0.05)


def test_command_makes_a_film_of_each_with_the_sound_of_its_name(tmp_path, monkeypatch):
    names = ("one", "two")
    sources = [curves_file(tmp_path / "curves" / f"{name}.csv") for name in names]
    for name in names:
        tone(tmp_path / "sounds" / f"{name}.wav")
    clips = tmp_path / "clips"
    assert run(monkeypatch, "render", *sources, "--sound", tmp_path / "sounds", "--size", 64, "-o", clips) == 0
    assert sorted(path.name for path in clips.iterdir()) == ["one.mp4", "two.mp4"]
    assert frames_of(clips / "two.mp4")[0]["audio_codec"] == "aac"


def test_command_draws_the_others_where_one_is_bad(tmp_path, monkeypatch, capsys):
    good = curves_file(tmp_path / "good.csv")
    (tmp_path / "bad.csv").write_text("nothing", encoding="utf-8")
    (tmp_path / "clips.v1").mkdir()
    assert run(monkeypatch, "render", tmp_path / "bad.csv", good, "--size", 64, "-o", tmp_path / "clips.v1") == 2
    text = [line for line in capsys.readouterr().err.splitlines() if line.startswith(("error", "hint")) or "missing" in line]
    assert len(text) == 2 and "bad.csv" in text[0] and "1 of 2 films are missing" in text[1]
    assert [path.name for path in (tmp_path / "clips.v1").iterdir()] == ["good.mp4"]


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_want_of_memory_is_told_in_one_line_a_film(tmp_path, monkeypatch, capsys, names):
    def failing(*_, **__):
        raise MemoryError

    sources = [curves_file(tmp_path / f"{name}.csv") for name in names]
    monkeypatch.setattr("facedistill.app.render._render_clip", failing)
    assert run(monkeypatch, "render", *sources, "-o", tmp_path / "clips") == 2
    text = capsys.readouterr().err.splitlines()
    assert text[: len(names)] == [f"error: {source}: {NO_MEMORY}" for source in sources]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv", "-o", "a.avi"], ".mp4, .gif, .png"),
        (["a.csv", "-o", "a.mp4", "--size", "65"], "even numbers from 64 to 2048"),
        (["a.csv", "-o", "a.mp4", "--size", "4096"], "even numbers from 64 to 2048"),
        (["a.csv", "b.csv", "-o", "a.mp4"], "with --compare side by side, or a folder"),
        (["a.csv", "--compare", "-o", "folder"], "without --compare a folder"),
        (["a.csv", "x/a.csv", "-o", "folder"], "each name once"),
        (["a.csv", "x/a.csv", "--compare", "-o", "a.mp4"], "each name once"),
        (["a.csv", "b.csv", "--phones", "a.tsv", "-o", "folder"], "phones of one source, for 2"),
        (["a.csv", "--turn", "nan", "-o", "a.mp4"], "Invalid value for '--turn'"),
        (["smirk.csv", "-o", "a.mp4"], "smirk.csv: no curve has a name of ARKit's"),
        (["a.csv", "--sound", "sounds", "-o", "a.mp4"], "2 recordings of the name a"),
        (["a.csv", "--strip", "-o", "a.mp4"], "expected with a recording"),
        (["a.csv", "--sound", "x", "-o", "a.mp4"], "no recordings of the name a"),
        (["a.csv", "--sound", "missing.wav", "-o", "a.mp4"], "missing.wav"),
        (["missing.csv", "-o", "a.mp4"], "missing.csv"),
        (["a.csv", "--face", "a.csv", "-o", "a.mp4"], "a.csv: not a face to draw"),
        (["a.csv", "--face", "missing.glb", "-o", "a.mp4"], "missing.glb"),
    ],
)
def test_bad_input_is_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "x/a.csv"):
        curves_file(tmp_path / name)
    for name in ("a.wav", "a.ogg", "a.take2.wav"):
        tone(tmp_path / "sounds" / name)
    registry.write(tmp_path / "smirk.csv", regular(["smirk"], np.zeros((9, 1)), 30.0))
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert run(monkeypatch, "render", *arguments) == 2
    text = capsys.readouterr().err
    assert message in text and text.count("\n") == 1
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before
