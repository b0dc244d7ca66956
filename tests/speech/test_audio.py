import io
import re
import struct
import subprocess
import sys
import tracemalloc
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.speech.audio import MIN_DURATION_S, open_mono, read_audio, resample, resample_blocks, write_flac
from facedistill.speech.decode import MAX_BEGINNING, RIFF, _places


def tone(rate_hz: int, duration_s: float = 0.5, frequency_hz: float = 440.0) -> np.ndarray:
    return 0.4 * np.sin(2 * np.pi * frequency_hz * np.arange(int(rate_hz * duration_s)) / rate_hz)


@pytest.mark.parametrize("rate_hz", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_any_rate_and_format_becomes_16k(tmp_path, rate_hz, suffix):
    if suffix == ".mp3" and rate_hz > 48_000:
        pytest.skip("MP3 has no such rate")
    path = tmp_path / f"a{suffix}"
    sf.write(path, tone(rate_hz), rate_hz)
    audio = read_audio(path)
    assert audio.dtype == np.float32
    codec_frame = {".mp3": 1152, ".ogg": 2048}.get(suffix, 0)  # which the last one may be padded to
    assert len(audio) == pytest.approx(8000, abs=codec_frame * 16_000 / rate_hz + 2)
    peak_hz = np.argmax(np.abs(np.fft.rfft(audio[1000:7000]))) * 16_000 / 6000
    assert peak_hz == pytest.approx(440, abs=4)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16_000), tone(16_000, frequency_hz=1000)
    sf.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_resampling_keeps_out_aliases():
    above_nyquist = tone(48_000, frequency_hz=12_000)
    assert np.abs(resample(above_nyquist, 48_000)[100:-100]).max() < 0.02  # the ends ring


def test_silence_is_allowed(tmp_path):
    sf.write(tmp_path / "a.wav", np.zeros(16_000), 16_000)
    assert not read_audio(tmp_path / "a.wav").any()


def wide(path) -> None:
    """16-bit samples in four bytes each."""
    sf.write(path, tone(16_000), 16_000)
    content = bytearray(path.read_bytes())
    content[32] = 4
    path.write_bytes(content)


def listed(path) -> None:
    """A text that FFmpeg would have open another file."""
    sf.write(path.with_name("other.wav"), tone(16_000), 16_000)
    path.write_text("ffconcat version 1.0\nfile other.wav\n")


def other_chunks(path) -> None:
    """An empty data chunk, and two kilobytes of a program's own."""
    sf.write(path, np.zeros(0), 16_000)
    path.write_bytes(path.read_bytes() + b"bext" + (2000).to_bytes(4, "little") + bytes(range(200)) * 10)


BAD = {
    "no samples before another chunk": (other_chunks, "holds no sound"),
    "a block of another size": (wide, "1 samples of 16 bits in blocks of 4 bytes; expected 2"),
    "missing": (lambda path: None, "no such recording"),
    "a link to nothing": (lambda path: path.symlink_to("elsewhere.wav"), "a link to nothing"),
    "a folder": (lambda path: path.mkdir(), "no such recording"),
    "empty file": (lambda path: path.write_bytes(b""), "an empty file"),
    "text": (lambda path: path.write_text("hello"), "not readable as audio"),
    "a playlist": (lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n"), "not readable as audio"),
    "a list of files": (listed, "not readable as audio"),
    "no samples": (lambda path: sf.write(path, np.zeros(0), 16_000), "empty or too short"),
    "too short": (lambda path: sf.write(path, np.zeros(int(MIN_DURATION_S * 16_000) - 1), 16_000), "empty or too short"),
    "nan": (lambda path: sf.write(path, np.full(1000, np.nan), 16_000, subtype="FLOAT"), "NaN"),
    "infinite": (lambda path: sf.write(path, np.full(1000, np.inf), 16_000, subtype="FLOAT"), "infinite"),
    "16-bit numbers": (lambda path: sf.write(path, 2**15 * tone(16_000), 16_000, subtype="FLOAT"), r"up to 1.311e\+04; expected"),
    "rate": (lambda path: sf.write(path, np.zeros(1000), 1000), "sample rate 1000 Hz"),
    "hours of a pause": (lambda path: paused(path, 1e6), "more than 3 h of sound"),
    "pictures alone": (lambda path: film(path, "-an"), "holds no sound"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_recordings_are_named(tmp_path, case, capfd):
    make, message = BAD[case]
    make(tmp_path / "bad.wav")
    with pytest.raises(InputError, match=message) as caught:
        read_audio(tmp_path / "bad.wav")
    assert "bad.wav" in str(caught.value) and "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # the decoder's own lines would name no file


def ffmpeg(*arguments) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def film(path, *arguments: str) -> None:
    """A black film of two seconds with two tones of one as sound tracks."""
    sounds = "-f lavfi -i sine=440:d=1 -f lavfi -i sine=880:d=1"
    maps = "-map 0" if "-an" in arguments else "-map 0 -map 1 -map 2"
    ffmpeg(*f"-f lavfi -i color=black:s=64x64:d=2 {sounds} {maps}".split(), *arguments, "-f", "matroska", path)


def cut(path, suffix: str) -> None:
    sf.write(path.with_suffix(suffix), np.random.default_rng(0).uniform(-0.5, 0.5, 40_000), 16_000)
    content = path.with_suffix(suffix).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def late(path, kind: str = "mp4") -> None:
    """A film of two seconds whose second of sound begins after half a second."""
    inputs = "-f lavfi -i color=black:s=64x64:d=2 -itsoffset 0.5 -f lavfi -i sine=440:d=1:r=16000"
    ffmpeg(*inputs.split(), "-map", "0", "-map", "1", "-c:a", "flac", "-strict", "-2", "-f", kind, path)


def stale(path) -> None:
    """A recorder that wrote its header after a second, and then went on."""
    sf.write(path, tone(16_000, 1.5), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = (32_000).to_bytes(4, "little")
    path.write_bytes(content)


def paused(path, pause_s: float = 0.5, *, n_channels: int = 1, rate_hz: int = 16_000) -> None:
    """A recorder that was paused: half a second of sound, a gap in the time stamps, and as much sound again."""
    layout = {1: "mono", 16: "hexadecagonal"}[n_channels]
    sound = np.repeat((2**15 * tone(rate_hz)).astype(np.int16), n_channels)
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout=layout)
        for start in (0, round(rate_hz * (0.5 + pause_s))):
            frame = av.AudioFrame.from_ndarray(sound[None], format="s16", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


NOTES = {
    "cut WAV": (lambda path: cut(path, ".wav"), 20_000 - 11, ["ends after 1.25 s, before the end that its header announces"]),
    "cut FLAC": (
        lambda path: cut(path, ".flac"), None,
        [
            "parts that hold no sound or are damaged were left out: 1",
            "ends after 1.02 s, before the end that its header announces",
        ],
    ),
    "two tracks": (film, 16_000, ["has 2 sound tracks; the one that players choose is used"]),
    "a pause": (paused, 24_000, ["its time stamps leave gaps: 0.50 s of silence fill them"]),
    "sound that begins late": (late, 24_000, ["its time stamps leave gaps: 0.50 s of silence fill them"]),
    "the same in Matroska": (
        lambda path: late(path, "matroska"), 24_000, ["its time stamps leave gaps: 0.50 s of silence fill them"],
    ),
    "a header of a while ago": (stale, 24_000, ["goes on after the end that its header announces; all of it is read"]),
    "opposite phase": (
        lambda path: sf.write(path, np.stack([tone(16_000), -0.9 * tone(16_000)], axis=1), 16_000), 8000,
        ["its 2 channels cancel each other; channel 1, the loudest, is used for 0.5 s"],
    ),
    "a centre that the others cancel": (
        lambda path: sf.write(path, np.stack([-tone(16_000) / 2, 1.1 * tone(16_000), -tone(16_000) / 2], axis=1), 16_000), 8000,
        ["its 3 channels cancel each other; channel 2, the loudest, is used for 0.5 s"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", NOTES)
def test_whatever_is_decided_is_told_in_a_line(tmp_path, case, caplog, capfd):
    make, n_samples, notes = NOTES[case]
    make(tmp_path / "odd.wav")
    samples, rate_hz = open_mono(tmp_path / "odd.wav").whole()
    assert caplog.messages == [f"{tmp_path / 'odd.wav'}: {note}" for note in notes]
    assert all(line.startswith("note: ") for line in capfd.readouterr().err.splitlines())  # the decoder has no say of its own
    assert n_samples is None or len(samples) == round(n_samples * rate_hz / 16_000)
    assert np.abs(samples[:9000]).max() > 0.05


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("name", ["subfile,,start,0,end,0,,:b", "concat:a|b", "file:b", "http:b", "%d", "-i"])
def test_a_name_is_never_an_address(tmp_path, monkeypatch, name, suffix):
    monkeypatch.chdir(tmp_path)
    sf.write(f"a{suffix}", tone(16_000), 16_000)
    Path(f"a{suffix}").rename(name)
    assert len(read_audio(Path(name))) == 8000


def test_channels_that_cancel_in_a_part_are_heard_there_too(tmp_path, caplog):
    half = np.concatenate([tone(16_000, 20.0)] * 2)
    sf.write(tmp_path / "a.wav", np.stack([half, np.repeat([1, -1], len(half) // 2) * half], axis=1), 16_000, subtype="FLOAT")
    samples = read_audio(tmp_path / "a.wav")
    assert np.sqrt(np.square(samples).reshape(8, -1).mean(axis=1)).min() > 0.15
    (note,) = caplog.messages
    assert 17 < float(note.removesuffix(" s").rpartition(" ")[2]) <= 20  # second by second


@pytest.mark.parametrize(
    ("n_channels", "arguments"),
    [(8, "-c:a aac -f mp4"), (8, "-c:a libvorbis -f ogg"), (8, "-c:a libopus -mapping_family 255 -f webm"), (8, "-f flac"),
     (12, "-c:a libopus -mapping_family 255 -f ogg"), (16, "-c:a pcm_f32le -f wav"), (12, "-c:a libvorbis -f ogg")],
)  # fmt: skip
def test_many_channels(tmp_path, n_channels, arguments):
    """In a process of its own: PyAV crashes where it is asked for the planes of so many."""
    mono = tone(48_000, 1.0)
    sf.write(tmp_path / "many.wav", np.outer(mono, np.linspace(0.5, 1, n_channels)), 48_000, format="WAVEX", subtype="FLOAT")
    ffmpeg("-i", tmp_path / "many.wav", *arguments.split(), tmp_path / "a.bin")
    code = """import sys; from pathlib import Path; from facedistill.speech.audio import open_mono
samples, rate_hz = open_mono(Path(sys.argv[1])).whole()
print(len(samples) / rate_hz, float(abs(samples[rate_hz // 4 : -rate_hz // 4]).max()))"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lasts_s, peak = map(float, done.stdout.split())
    assert lasts_s == pytest.approx(1.0, abs=0.05) and peak == pytest.approx(0.4 * 0.75, abs=0.05)


def test_samples_of_64_bits(tmp_path):
    sf.write(tmp_path / "a.wav", tone(16_000), 16_000)
    ffmpeg("-i", tmp_path / "a.wav", "-c:a", "pcm_s64le", tmp_path / "b.wav")
    np.testing.assert_allclose(read_audio(tmp_path / "b.wav"), tone(16_000), atol=1e-4)


def test_a_joined_file_whose_last_part_is_cut_in_its_header(tmp_path, caplog):
    for suffix in (".wav", ".ogg"):
        path = tmp_path / f"a{suffix}"
        sf.write(path, tone(16_000, 2.0), 16_000)
        whole = read_audio(path)
        path.write_bytes(path.read_bytes() + path.read_bytes()[:40])
        assert np.array_equal(read_audio(path)[: len(whole)], whole)
    assert all("left out" in note or "ends after" in note for note in caplog.messages) and caplog.messages


def test_a_chunk_before_the_form_may_hold_anything(tmp_path):
    sf.write(tmp_path / "a.wav", tone(16_000), 16_000)
    content = (tmp_path / "a.wav").read_bytes()
    junk = b"JUNK" + (28).to_bytes(4, "little") + b"fmt " + bytes([16, 0, 0, 0, 1, 0, 9, 0]) + bytes(16)
    (tmp_path / "b.wav").write_bytes(content[:12] + junk + content[12:])
    assert np.array_equal(read_audio(tmp_path / "b.wav"), read_audio(tmp_path / "a.wav"))


@pytest.mark.parametrize("pad", [b"", b"\0"])
def test_chunks_behind_the_sound_are_not_heard(tmp_path, caplog, pad):
    """After an odd number of bytes, of which some writers leave the pad out."""
    sf.write(tmp_path / "a.wav", tone(16_000)[:-1], 16_000, subtype="PCM_U8")
    content = (tmp_path / "a.wav").read_bytes()[: 44 + 7999]
    chunk = b"bext" + (3000).to_bytes(4, "little") + bytes(3000)
    (tmp_path / "b.wav").write_bytes(
        content[:4] + (36 + 7999 + len(pad + chunk)).to_bytes(4, "little") + content[8:] + pad + chunk
    )
    assert len(read_audio(tmp_path / "b.wav")) == 7999 and caplog.messages == []


def test_long_recordings_are_read_in_little_memory(tmp_path):
    """Of sound, of silence in a gap that a small file leaves, and of a joined file at another rate; in 16 channels at 48 kHz."""
    for name in ("sound.wav", "joined.wav"):
        with (tmp_path / name).open("wb") as file:
            if name == "joined.wav":
                sf.write(tmp_path / "a.wav", tone(44_100), 44_100)
                file.write((tmp_path / "a.wav").read_bytes())
            form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 16, 48_000, 48_000 * 32, 32, 16)
            file.write(b"RIFF" + bytes([255] * 4) + b"WAVE" + form + b"data" + bytes([255] * 4))
            file.truncate(file.tell() + 48_000 * 32 * 60)
    paused(tmp_path / "gap.mkv", 60.0, n_channels=16, rate_hz=48_000)
    resample(tone(8000), 8000)  # loads scipy.signal, which is no sound
    for path in (tmp_path / "sound.wav", tmp_path / "joined.wav", tmp_path / "gap.mkv"):
        tracemalloc.start()
        try:
            sound = open_mono(path)
            n_samples = sum(map(len, sound.blocks))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert n_samples / sound.rate_hz == pytest.approx(61.0 if path.name == "gap.mkv" else 60.0, abs=0.6)
        assert peak < 60e6, path.name  # the sound is 184 MB


@settings(max_examples=20, deadline=None)
@given(
    rates=st.tuples(*[st.sampled_from([4000, 8000, 11_025, 16_000, 44_100, 48_000, 96_000])] * 2).filter(lambda r: r[0] != r[1]),
    cuts=st.lists(st.integers(0, 20_000), max_size=5),
    n_samples=st.integers(1, 20_000),
    at_once=st.sampled_from([500, 5000, 2**20]),
)
def test_resampling_in_blocks_gives_the_bits_of_the_whole(rates, cuts, n_samples, at_once):
    samples = np.random.default_rng(n_samples).standard_normal(n_samples).astype(np.float32)
    blocks = np.split(samples, sorted(cut for cut in cuts if cut <= n_samples))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facedistill.speech.audio.RESAMPLED", at_once)
        found = np.concatenate(list(resample_blocks(iter(blocks), *rates)))
    np.testing.assert_array_equal(found, resample(samples, *rates))


def test_a_joined_file_is_at_the_rate_of_its_first_part(tmp_path):
    parts = [tone(44_100), tone(48_000), tone(8000), tone(44_100)]
    rates = [44_100, 48_000, 8000, 44_100]
    content = b""
    for part, rate_hz in zip(parts, rates, strict=True):
        sf.write(tmp_path / "a.wav", part, rate_hz, subtype="FLOAT")
        content += (tmp_path / "a.wav").read_bytes()
    (tmp_path / "b.wav").write_bytes(content)
    samples, rate_hz = open_mono(tmp_path / "b.wav").whole()
    expected = [resample(part.astype(np.float32), own_hz, 44_100) for part, own_hz in zip(parts, rates, strict=True)]
    assert rate_hz == 44_100
    np.testing.assert_array_equal(samples, np.concatenate(expected))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1000.0])
def test_a_recording_that_turns_bad_is_bad(tmp_path, bad):
    samples = np.zeros(20 * 16_000, np.float32)
    samples[-100] = bad
    sf.write(tmp_path / "a.wav", samples, 16_000, subtype="FLOAT")
    sound = open_mono(tmp_path / "a.wav")
    assert len(next(iter(sound.blocks))) < len(samples)
    with pytest.raises(InputError, match="a.wav: (contains NaN or infinite samples|samples of up to 1000);"):
        sound.whole()


def test_exactly_as_much_as_is_allowed_is_read(tmp_path, monkeypatch):
    """The lengths of blocks do not add up exactly."""
    monkeypatch.setattr("facedistill.speech.audio.MAX_DURATION_S", 29.7)
    sf.write(tmp_path / "a.flac", np.zeros(round(29.7 * 44_100)), 44_100)
    assert len(open_mono(tmp_path / "a.flac").whole()[0]) == round(29.7 * 44_100)


def test_a_file_is_joined_where_its_parts_begin(tmp_path, monkeypatch):
    """Whatever is read at once: a beginning may lie across two parts of what is read."""
    for suffix in (".wav", ".ogg"):
        path, joined = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
        sf.write(path, tone(16_000, 0.3), 16_000)
        joined.write_bytes(5 * path.read_bytes())
        whole = read_audio(path)
        for n_bytes in (2 * MAX_BEGINNING, 97, 1009, 2**20):
            monkeypatch.setattr("facedistill.speech.decode.SCANNED_BYTES", (n_bytes, n_bytes))
            np.testing.assert_array_equal(read_audio(joined), np.tile(whole, 5))


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.sampled_from([b"RIFF", b"WAVE", b"RIFF\0\0\0\0WAVE", b"RIFFRIFFWAVE", b"\0" * 61, b"R"]), max_size=40),
       n_bytes=st.tuples(st.integers(65, 90), st.integers(65, 200)))  # fmt: skip
def test_places_are_those_of_the_whole_file(parts, n_bytes):
    data, pattern = b"".join(parts), re.compile(RIFF, re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facedistill.speech.decode.SCANNED_BYTES", n_bytes)
        found = list(_places(io.BytesIO(data), pattern))
    assert found == [place.start() for place in pattern.finditer(data)]


@pytest.mark.parametrize("where", ["decode", "demux", "open"])
def test_want_of_memory_is_not_damage(tmp_path, monkeypatch, where):
    def failing(*_, **__):
        raise av.error.MemoryError(12, "Cannot allocate memory")

    class Container:
        """What `av.open` gives, whose packets cannot be read or decoded."""

        def __init__(self, container):
            self._container = container

        def __getattr__(self, name):
            return getattr(self._container, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._container.close()

        def demux(self, stream):
            packets = self._container.demux(stream)
            yield next(packets)
            if where == "demux":
                failing()
            yield SimpleNamespace(decode=failing)

    sf.write(tmp_path / "a.wav", tone(16_000), 16_000)
    opened = av.open
    monkeypatch.setattr(
        av, "open", failing if where == "open" else lambda *given, **options: Container(opened(*given, **options))
    )
    with pytest.raises(MemoryError):
        read_audio(tmp_path / "a.wav")


def test_a_pause_is_silent(tmp_path):
    paused(tmp_path / "a.mkv")
    samples, _ = open_mono(tmp_path / "a.mkv").whole()
    np.testing.assert_allclose(samples, np.concatenate([tone(16_000), np.zeros(8000), tone(16_000)]), atol=1e-4)


@pytest.mark.parametrize(
    "channels", [(1.0,), (1.0, 1.0), (1.0, 0.0), (1.0, 0.0, 0.0, 0.0, 0.0, 0.0), (0.0, 0.0), (1.0, -0.3)], ids=str
)
def test_channels_that_do_not_cancel_are_averaged_without_a_word(tmp_path, channels, caplog):
    sound = np.outer(tone(16_000), channels)
    sf.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav"), sound.mean(axis=1), atol=1e-6)
    assert caplog.messages == []


@pytest.mark.parametrize(("name", "n_frames"), [("cut.mp3", 36), ("joined.mp3", 124)])
def test_files_that_other_tools_get_wrong(name, n_frames, tmp_path):
    path = ROOT.parent / "shared" / "cases" / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    sound = read_audio(path)
    assert int(np.ceil(len(sound) * 30 / 16_000)) == n_frames
    read_audio(path.with_name("joined.mp3"))  # what was read before changes nothing
    assert np.array_equal(read_audio(path), sound)


def test_no_more_is_read_than_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr("facedistill.speech.audio.MAX_DURATION_S", 0.4)
    sf.write(tmp_path / "a.wav", tone(16_000), 16_000)
    with pytest.raises(InputError, match="of sound; expected at most"):
        read_audio(tmp_path / "a.wav")


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n_samples=st.integers(320, 5000))
def test_flac_round_trip(tmp_path_factory, seed, n_samples):
    path = tmp_path_factory.mktemp("flac") / "a.flac"
    samples = np.random.default_rng(seed).uniform(-1, 1, n_samples).astype(np.float32)
    write_flac(path, samples)
    np.testing.assert_allclose(read_audio(path), samples, atol=1 / 32_000)
