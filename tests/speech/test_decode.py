"""Recordings of every kind, whole, joined and cut, beside what ffmpeg itself makes of them."""

import logging
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import soundfile as sf
from exported import model_path, noise

from facedistill.core.errors import InputError
from facedistill.runtime import Animator, Model
from facedistill.speech.audio import open_mono, resample

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
DURATION_S = 1.3
FORMS = ((16_000, 1), (44_100, 2), (48_000, 1), (22_050, 2))  # sample rate in Hz, channels
EXACT, MP3, AAC, OPUS, VORBIS, WMA, ADPCM = 0, 1152, 1024, 960, 2048, 2048, 2048  # samples of a codec's frame
RESAMPLED = 64  # samples that a change of the rate may add
XING = "-write_xing 0"
# {file: (arguments of ffmpeg, samples of a codec's frame)}
ENCODINGS = {
    "u8.wav": ("-c:a pcm_u8", EXACT), "s16.wav": ("-c:a pcm_s16le", EXACT), "s24.wav": ("-c:a pcm_s24le", EXACT),
    "s32.wav": ("-c:a pcm_s32le", EXACT), "f32.wav": ("-c:a pcm_f32le", EXACT), "f64.wav": ("-c:a pcm_f64le", EXACT),
    "alaw.wav": ("-c:a pcm_alaw", EXACT), "mulaw.wav": ("-c:a pcm_mulaw", EXACT), "rf64.wav": ("-rf64 always", EXACT),
    "adpcm.wav": ("-c:a adpcm_ms", ADPCM), "ima.wav": ("-c:a adpcm_ima_wav", ADPCM), "a.w64": ("", EXACT), "a.au": ("", EXACT),
    "s16.aiff": ("", EXACT), "s24.aif": ("-c:a pcm_s24be -f aiff", EXACT), "alac.caf": ("-c:a alac", EXACT),
    "16.flac": ("-sample_fmt s16", EXACT), "24.flac": ("-sample_fmt s32 -compression_level 8", EXACT),
    "cbr32.mp3": ("-b:a 32k", MP3), "cbr128.mp3": ("-b:a 128k", MP3), "abr.mp3": ("-b:a 64k -abr 1", MP3),
    "vbr2.mp3": ("-q:a 2", MP3), "vbr9.mp3": ("-q:a 9", MP3), "cbr-bare.mp3": (f"-b:a 64k {XING}", MP3),
    "vbr2-bare.mp3": (f"-q:a 2 {XING}", MP3), "vbr5-bare.mp3": (f"-q:a 5 {XING}", MP3), "vbr9-bare.mp3": (f"-q:a 9 {XING}", MP3),
    "no-id3.mp3": (f"-q:a 4 {XING} -id3v2_version 0", MP3), "id3v1.mp3": ("-b:a 48k -write_id3v1 1", MP3),
    "32k.m4a": ("-c:a aac -b:a 32k", AAC), "96k.m4a": ("-c:a aac -b:a 96k -movflags faststart", AAC),
    "alac.m4a": ("-c:a alac", EXACT),
    "fragments.m4a": ("-c:a aac -movflags frag_keyframe+empty_moov", AAC), "a.aac": ("-c:a aac", AAC),
    "a.mp4": ("-c:a aac", AAC), "pcm.mov": ("-c:a pcm_s16le", EXACT), "aac.mov": ("-c:a aac", AAC),
    "q0.ogg": ("-c:a libvorbis -q:a 0", VORBIS), "q6.oga": ("-c:a libvorbis -q:a 6", VORBIS), "flac.ogg": ("-c:a flac", EXACT),
    "16k.opus": ("-c:a libopus -b:a 16k", OPUS), "cbr.opus": ("-c:a libopus -vbr off -b:a 48k", OPUS),
    "opus.ogg": ("-c:a libopus -frame_duration 60", 3 * OPUS), "opus.webm": ("-c:a libopus", OPUS),
    "vorbis.webm": ("-c:a libvorbis", VORBIS), "live.webm": ("-c:a libopus -live 1 -f webm", OPUS),
    "mp3.mkv": ("-c:a libmp3lame", MP3),
    "flac.mkv": ("-c:a flac", EXACT), "a.wma": ("-c:a wmav2", WMA),
}  # fmt: skip
CUTS = (0.35, 0.6, 0.85)  # of a file that are left
JOINABLE = (
    "s16.wav", "streamed-s16.wav", "rf64.wav", "a.w64", "s16.aiff", "alac.caf", "16.flac", "cbr32.mp3", "vbr2.mp3",
    "vbr5-bare.mp3", "no-id3.mp3", "a.aac", "q0.ogg", "q6.oga", "flac.ogg", "16k.opus", "cbr.opus", "opus.ogg", "32k.m4a",
    "96k.m4a", "a.mp4", "pcm.mov", "opus.webm", "live.webm", "flac.mkv", "a.wma",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A file, those whose sound it should hold one after the other, and the samples of a codec's frame."""

    path: Path
    parts: tuple[Path, ...]
    frame: int
    is_broken: bool = False


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> list[Case]:
    folder = tmp_path_factory.mktemp("sound")
    with ThreadPoolExecutor(2) as pool:
        whole = [case for made in pool.map(lambda form: encoded(folder, *form), FORMS) for case in made]
    bare = headers(whole)
    return whole + bare + joined(whole + bare) + cut(whole)


def encoded(folder: Path, rate_hz: int, n_channels: int) -> list[Case]:
    """Every encoding of one sound, by one run of ffmpeg."""
    place = folder / f"{rate_hz}-{n_channels}"
    place.mkdir()
    mono = noise(DURATION_S, n_channels, rate_hz)
    sf.write(place / "source.wav", np.stack([mono, 0.3 * np.roll(mono, 40)][:n_channels], axis=1), rate_hz, subtype="PCM_24")
    command = [FFMPEG, "-v", "error", "-i", place / "source.wav"]
    for name, (arguments, _) in ENCODINGS.items():
        command += [*arguments.split(), place / name]
    subprocess.run(command, check=True)
    return [Case(place / name, (place / name,), frame) for name, (_, frame) in ENCODINGS.items()]


def headers(whole: list[Case]) -> list[Case]:
    """Headers that say nothing, too little or too much of a sound that is all there, and what else stands before it."""
    made = []
    for case in whole:
        content, name = case.path.read_bytes(), case.path.name
        changed = {}
        if name == "s16.wav":
            size = content.index(b"data") + 4
            for what, number in {"died": 0, "streamed": 0xFFFFFFFF, "sox": 0x7FFFFFFF, "stale": 20_000}.items():
                changed[what] = content[:size] + number.to_bytes(4, "little") + content[size + 4 :]
            changed["named"] = content
        if name == "16.flac":  # STREAMINFO: the number of samples is the 36 bits that end at byte 26
            for what, high, low in (("piped", 0, 0), ("endless", 0x0F, 2**32 - 1)):
                changed[what] = content[:21] + bytes([content[21] & 0xF0 | high]) + low.to_bytes(4, "big") + content[26:]
        if name in ("cbr32.mp3", "vbr2-bare.mp3"):
            changed["tagged"] = b"ID3\x04\0\0\0\0\x10\0" + bytes(2048) + content
        for what, data in changed.items():
            path = case.path.with_name(f"{what}-{case.path.stem}{'.mp3' if what == 'named' else case.path.suffix}")
            path.write_bytes(data)
            made.append(Case(path, case.parts, case.frame))
    return made


def joined(whole: list[Case]) -> list[Case]:
    """Files end to end: of one form, and of another sample rate and number of channels.

    Joined MP3s are one stream, as all players have it; of chained Ogg and joined WAVs ffmpeg gives the first part alone, or parts
    that overlap, and so each part is decoded by itself.
    """
    by_form = {(case.path.parent.name, case.path.name): case for case in whole}
    one, other = (f"{rate_hz}-{n_channels}" for rate_hz, n_channels in FORMS[:2])
    made = []
    for name in JOINABLE:
        for forms in ((one, one), (other, one)):
            first, second = (by_form[form, name] for form in forms)
            path = first.path.with_name(f"joined-{forms[1]}-{name}")
            path.write_bytes(first.path.read_bytes() + second.path.read_bytes())
            parts = (path,) if path.suffix in (".mp3", ".aac", ".flac") else (first.path, second.path)
            made.append(Case(path, parts, max(3 * first.frame, RESAMPLED)))
    return made


def cut(whole: list[Case]) -> list[Case]:
    made = []
    for number, case in enumerate(whole):
        content = case.path.read_bytes()
        path = case.path.with_name(f"cut-{case.path.name}")
        path.write_bytes(content[: round(CUTS[number % len(CUTS)] * len(content))])
        made.append(Case(path, (path,), case.frame, is_broken=True))
    return made


def ffmpegs(path: Path) -> tuple[np.ndarray, int]:
    """(S,) what ffmpeg decodes, its channels averaged, and the sample rate in Hz; nothing where it gives up."""
    done = subprocess.run([FFMPEG, "-hide_banner", "-i", path, "-map", "0:a:0", "-f", "f32le", "-"], capture_output=True)
    form = re.search(rb"Output #0.*Audio: pcm_f32le, (\d+) Hz, (mono|stereo)", done.stderr, re.DOTALL)
    rate_hz, n_channels = (int(form[1]), 1 + (form[2] == b"stereo")) if form else (1, 1)
    return np.frombuffer(done.stdout, np.float32).reshape(-1, n_channels).mean(axis=1), rate_hz


def compared(case: Case, model: Model) -> str | None:
    """What is wrong with a case, or "refused", or nothing."""
    try:
        samples, rate_hz = open_mono(case.path).whole()
    except InputError as error:
        assert case.path.name in str(error) and "\n" not in str(error)
        return "refused, ffmpeg reads it" if len(ffmpegs(case.path)[0]) else "refused"
    expected = np.concatenate([resample(*ffmpegs(path), rate_hz) for path in case.parts])
    if not abs(len(samples) - len(expected)) <= case.frame:
        return f"{len(samples)} samples, ffmpeg {len(expected)}"
    if case.frame == EXACT and np.abs(samples - expected).max() > 1e-6:
        return "other samples"
    curves = [Animator(model, rate_hz=rate_hz, fps=30).animate(sound).weights for sound in (samples, expected)]
    n_frames = min(map(len, curves)) - 2  # the last ones hear the end
    r = np.corrcoef(*(weights[:n_frames].ravel() for weights in curves))[0, 1]
    return None if r >= 0.99 else f"curves correlate {r}"


def test_every_file_is_decoded_as_ffmpeg_decodes_it(cases, caplog):
    caplog.set_level(logging.ERROR)
    assert len(cases) >= 300
    model = Model(model_path())
    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(cases, pool.map(lambda case: compared(case, model), cases), strict=True))
    wrong = {f"{case.path.parent.name}/{case.path.name}": what for case, what in found.items() if what not in (None, "refused")}
    refused = [case.path.name for case, what in found.items() if what == "refused" and not case.is_broken]
    n_whole = sum(not case.is_broken for case in cases)
    n_refused = sum(what == "refused" for what in found.values())
    print(f"{len(cases)} files, {n_refused} refused; {n_whole} whole, {len(refused)} refused")
    assert wrong == {}
    assert len(refused) <= 0.05 * n_whole, refused
