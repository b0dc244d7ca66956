"""A face that speaks as the sound comes in: a microphone or a recording to Unreal, in real time."""

import errno
import logging
import math
import queue
import socket
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from itertools import count, cycle, pairwise
from pathlib import Path

import numpy as np

from facedistill.app.animate import open_recording
from facedistill.core.errors import InputError
from facedistill.formats.live_link import packet
from facedistill.runtime import Animator, Eyes, Model

SUBJECT = "facedistill"
SILENT_S = 2.0  # a microphone that gives nothing for so long is gone
UNHEARD = (errno.ECONNREFUSED, errno.ECONNRESET)  # nobody listens at the port
# The network is not there, or is full; what is sent later may arrive.
UNREACHED = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL, errno.ENOBUFS)
OUTAGE_S = 5.0  # without an error until one is over: far machines say only now and then that nobody listens


def stream_recording(path: Path, fps: int) -> tuple[int, Iterator[np.ndarray]]:
    """A recording as a microphone would deliver it: the sample rate in Hz, and (S,) float32 a frame, none before its time."""
    sound = open_recording(path)

    def paced() -> Iterator[np.ndarray]:
        start_s = time.monotonic()
        for number, chunk in enumerate(_chunks(sound.blocks, sound.rate_hz, fps), 1):
            time.sleep(max(0.0, start_s + number * sound.rate_hz // fps / sound.rate_hz - time.monotonic()))
            yield chunk

    return sound.rate_hz, paced()


def stream_microphone(fps: int) -> tuple[int, Iterator[np.ndarray]]:
    """The default microphone, until interrupted, as `stream_recording` gives it; InputError if none is there or can be opened."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: the package is there, PortAudio is not
        hint = 'in the clone, `pip install ".[mic]"`; on Linux also `apt install libportaudio2`'
        raise InputError(f"--mic: no access to microphones ({error}); hint: {hint}") from None
    try:
        rate_hz = int(sounddevice.query_devices(kind="input")["default_samplerate"])
    except (sounddevice.PortAudioError, ValueError) as error:
        raise InputError(f"--mic: no microphone ({error})") from None
    return rate_hz, _microphone(sounddevice, rate_hz, fps)


def live(
    source: tuple[int, Iterator[np.ndarray]], model: Model, target: tuple[str, int], *,
    fps: int = 60, ensemble: bool = False, blinks: int | None = None, subject: str = SUBJECT,
) -> int:  # fmt: skip
    """Sends a packet for every frame as soon as it is known, whether anybody listens or not; returned is how many.

    The source is a sample rate in Hz and chunks of sound, the target host and port, the subject the name that Unreal shows.
    """
    rate_hz, chunks = source
    animator = Animator(model, rate_hz=rate_hz, fps=fps, ensemble=ensemble)
    eyes = None if blinks is None else Eyes(blinks)
    now, n_sent = datetime.now(), 0
    first = int((now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds() * fps)
    try:
        with closing(_Receiver(*target)) as receiver:
            for time_s, weights in _paced_frames(animator, chunks):
                if eyes is not None:
                    weights = eyes.apply(weights[None], np.array([time_s]), animator.curves)[0]
                named = dict(zip(animator.curves, weights.tolist(), strict=True))
                receiver.send(packet(subject, first + n_sent, fps=fps, weights=named))
                n_sent += 1
    except KeyboardInterrupt:  # how a microphone ends
        pass
    return n_sent


def _paced_frames(animator: Animator, chunks: Iterator[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Times in s and (K,) weights, each so many frames after its own time that all are known: sent at once they would stutter."""
    wait_s = math.ceil(animator.lookahead_s * animator.fps) / animator.fps
    waiting, n_samples = deque(), 0
    for chunk in chunks:
        frames = animator.push(chunk)
        waiting.extend(zip(frames.times_s, frames.weights, strict=True))
        n_samples += len(chunk)
        while waiting and waiting[0][0] < n_samples / animator.rate_hz - wait_s + 1e-4:  # a chunk may be a sample shorter
            yield waiting.popleft()
    frames = animator.flush()
    for frame in (*waiting, *zip(frames.times_s, frames.weights, strict=True)):
        time.sleep(1 / animator.fps)
        yield frame


class _Receiver:
    """Whoever listens at a port, now or later."""

    def __init__(self, host: str, port: int) -> None:
        self._name, self._socket, self._failed_s = f"--target {host}:{port}", None, -math.inf
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as error:
            raise self._bad(error) from None
        self._addresses = cycle(found)  # of which one may be heard and another not: a name's IPv4 and IPv6

    def send(self, packet: bytes) -> None:
        """Sends a packet; a failure that may pass is told once, one that does not is an InputError."""
        for _ in range(2):  # what the first call tells may be of the packet before: then this one was not sent
            try:
                self._connected().send(packet)
                return
            except OSError as error:
                if error.errno not in UNHEARD + UNREACHED:
                    raise self._bad(error) from None
                self._fail(error)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None:  # a socket that is not connected would not be told that nobody listens
            family, kind, protocol, _, address = next(self._addresses)
            self._socket = socket.socket(family, kind, protocol)
            self._socket.connect(address)
        return self._socket

    def _fail(self, error: OSError) -> None:
        self.close()  # the next socket takes the way that there is by then
        if time.monotonic() - self._failed_s > OUTAGE_S:
            why = "nobody listens there" if error.errno in UNHEARD else f"cannot be reached now ({error.strerror})"
            logging.getLogger(__name__).warning("%s: %s; frames are sent on", self._name, why)
        self._failed_s = time.monotonic()

    def _bad(self, error: Exception) -> InputError:
        return InputError(f"{self._name}: cannot be reached ({error})")


def _chunks(blocks: Iterable[np.ndarray], rate_hz: int, fps: int) -> Iterator[np.ndarray]:
    """A chunk a frame, of blocks of any size."""
    sizes = (end - begin for begin, end in pairwise(number * rate_hz // fps for number in count()))
    waiting, size = np.zeros(0, np.float32), next(sizes)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while size <= len(waiting):
            yield waiting[:size]
            waiting, size = waiting[size:], next(sizes)
    if len(waiting):
        yield waiting


def _microphone(sounddevice, rate_hz: int, fps: int) -> Iterator[np.ndarray]:
    audio: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()

    def hear(chunk: np.ndarray, *_) -> None:
        audio.put(chunk[:, 0].copy())

    try:
        with sounddevice.InputStream(samplerate=rate_hz, blocksize=rate_hz // fps, channels=1, dtype="float32", callback=hear):
            while True:
                yield audio.get(timeout=SILENT_S)
    except queue.Empty:
        raise InputError(f"--mic: the microphone gave no sound for {SILENT_S:g} s; expected one that is connected") from None
    except sounddevice.PortAudioError as error:
        raise InputError(f"--mic: the microphone cannot be opened ({error})") from None
