"""A face that speaks as the sound comes in: a microphone or a recording to Unreal, in real time."""

import math
import queue
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np

from facedistill.animate import read_recording
from facedistill.core.errors import InputError
from facedistill.formats.live_link_udp import PacketWriter
from facedistill.runtime import Animator, Eyes, Frames, Model

SUBJECT = "facedistill"
ROUNDING_S = 1e-4  # a chunk may be a sample shorter than a frame
_MICROPHONES = 'in the clone, `pip install ".[mic]"`; on Linux also `apt install libportaudio2`'
SILENT_S = 2.0  # a microphone that gives nothing for so long is gone


def stream_recording(path: Path, fps: int) -> tuple[int, Iterator[np.ndarray]]:
    """A recording as a microphone would deliver it: a chunk a frame, none before its time.

    Returns:
        The sample rate in Hz, and the chunks, (S,) float32.

    Raises:
        InputError: see `audio.read_mono`.
    """
    samples, rate_hz = read_recording(path)
    return rate_hz, _paced(samples, rate_hz, fps)


def stream_microphone(fps: int) -> tuple[int, Iterator[np.ndarray]]:
    """The default microphone, until interrupted.

    Raises:
        InputError: no microphone, or none that can be opened.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
        raise InputError(f"--mic: no access to microphones ({error}); hint: {_MICROPHONES}") from None
    try:
        rate_hz = int(sounddevice.query_devices(kind="input")["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(f"--mic: no microphone ({error})") from None
    return rate_hz, _microphone(sounddevice, rate_hz, fps)


def live(
    source: tuple[int, Iterator[np.ndarray]],
    model: Model,
    target: tuple[str, int],
    *,
    fps: int = 60,
    ensemble: bool = False,
    blinks: int | None = None,
    subject: str = SUBJECT,
) -> int:
    """Sends a packet for every frame, as soon as it is known.

    Args:
        source: sample rate in Hz, and chunks of sound.
        target: host and port that Live Link listens at.
        blinks: see `animate.Settings`.
        subject: the name that Unreal shows.

    Returns:
        Frames sent.

    Raises:
        InputError: the target is not there.
    """
    rate_hz, chunks = source
    animator = Animator(model, rate_hz=rate_hz, fps=fps, ensemble=ensemble)
    eyes = None if blinks is None else Eyes(blinks)
    packets = PacketWriter(subject, fps=fps, names=animator.curves)
    now = datetime.now()
    first = int((now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() * fps)
    n_sent = 0
    try:
        with _connected(*target) as send:
            for frames in _paced_frames(animator, chunks):
                weights = frames.weights if eyes is None else eyes.apply(frames.weights, frames.times_s, animator.curves)
                for row in weights:
                    send(packets.packet(first + n_sent, row))
                    n_sent += 1
    except KeyboardInterrupt:  # how a microphone ends
        pass
    return n_sent


def _paced_frames(animator: Animator, chunks: Iterator[np.ndarray]) -> Iterator[Frames]:
    """Frames at an even pace: each the same whole number of frames after its own time, the least that lets all be known.

    A frame is known earlier or later by up to a step of the model; to send it at once would make the face stutter.
    """
    wait_s = math.ceil(animator.lookahead_s * animator.fps) / animator.fps
    waiting, n_samples = Frames(np.zeros(0), np.zeros((0, len(animator.curves)), np.float32)), 0
    for chunk in chunks:
        waiting = _joined(waiting, animator.push(chunk))
        n_samples += len(chunk)
        due = int(np.searchsorted(waiting.times_s, n_samples / animator.rate_hz - wait_s + ROUNDING_S))
        yield Frames(waiting.times_s[:due], waiting.weights[:due])
        waiting = Frames(waiting.times_s[due:], waiting.weights[due:])
    waiting = _joined(waiting, animator.flush())
    for number in range(len(waiting)):
        time.sleep(1 / animator.fps)
        yield Frames(waiting.times_s[number : number + 1], waiting.weights[number : number + 1])


def _joined(first: Frames, then: Frames) -> Frames:
    return Frames(np.concatenate([first.times_s, then.times_s]), np.concatenate([first.weights, then.weights]))


@contextmanager
def _connected(host: str, port: int) -> Iterator:
    """A function that sends a packet."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as connection:
            connection.connect(address)
            yield connection.send
    except ConnectionRefusedError:
        raise InputError(f"--target {host}:{port}: nobody listens there; allowed: where Live Link Face is awaited") from None
    except (OSError, UnicodeError) as error:
        raise InputError(f"--target {host}:{port}: cannot be reached ({error})") from None


def _paced(samples: np.ndarray, rate_hz: int, fps: int) -> Iterator[np.ndarray]:
    start_s = time.monotonic()
    for number in range(-(-len(samples) * fps // rate_hz)):
        begin, end = number * rate_hz // fps, (number + 1) * rate_hz // fps
        time.sleep(max(0.0, start_s + end / rate_hz - time.monotonic()))
        yield samples[begin:end]


def _microphone(sounddevice, rate_hz: int, fps: int) -> Iterator[np.ndarray]:
    heard: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def hear(chunk: np.ndarray, *_) -> None:
        heard.put(chunk[:, 0].copy())

    try:
        with sounddevice.InputStream(samplerate=rate_hz, blocksize=rate_hz // fps, channels=1, dtype="float32", callback=hear):
            while True:
                yield heard.get(timeout=SILENT_S)
    except queue.Empty:
        raise InputError(f"--mic: the microphone gave no sound for {SILENT_S:g} s; allowed: one that is connected") from None
    except sounddevice.PortAudioError as error:
        raise InputError(f"--mic: the microphone cannot be opened ({error})") from None
