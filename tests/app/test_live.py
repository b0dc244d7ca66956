"""Live: what an independent reader of Live Link Face packets gets over UDP, and when; no test waits."""

import itertools
import re
import socket
import struct
import sys
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile as sf
from exported import build, exported, model_path, noise, student

from facedistill import cli
from facedistill.app import live as module
from facedistill.core.errors import InputError
from facedistill.pipeline.export import write_model
from facedistill.runtime import Animator, Eyes, Model

# Apple's order, as phones send it.
ORDER = (
    "eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft eyeBlinkRight "
    "eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight eyeWideRight jawForward jawLeft jawRight "
    "jawOpen mouthClose mouthFunnel mouthPucker mouthLeft mouthRight mouthSmileLeft mouthSmileRight mouthFrownLeft "
    "mouthFrownRight mouthDimpleLeft mouthDimpleRight mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper "
    "mouthShrugLower mouthShrugUpper mouthPressLeft mouthPressRight mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft "
    "mouthUpperUpRight browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight noseSneerLeft noseSneerRight tongueOut"
).split()


@dataclass(frozen=True)
class Packet:
    device: str
    subject: str
    frame: int
    subframe: float
    rate: tuple[int, int]
    curves: dict[str, float]
    rotations: tuple[float, ...]


def decode(data: bytes) -> Packet:
    """One packet, read field by field as Unreal does."""

    def take(layout: str) -> tuple:
        nonlocal data
        size = struct.calcsize(layout)
        values, data = struct.unpack(layout, data[:size]), data[size:]
        return values

    assert take("<I") == (6,)
    (device,) = take("37s")
    (length,) = take(">i")
    (subject,) = take(f"{length}s")
    (frame,), (subframe,), rate, (n_values,) = take(">i"), take(">f"), take(">ii"), take("B")
    assert n_values == 61
    values = take(">61f")
    assert data == b""
    curves = dict(zip(ORDER, values[:52], strict=True))
    return Packet(device.decode("ascii"), subject.decode(), frame, subframe, rate, curves, values[52:])


class Clock:
    """Time that passes when someone sleeps; a sleeper wakes up a little late."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        assert duration_s >= 0
        self.now_s += duration_s + 0.0005 if duration_s else 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def unreal():
    """A socket that listens at a free port, and keeps what comes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        yield server


def received(server: socket.socket) -> list[Packet]:
    packets = []
    while True:
        try:
            packets.append(decode(server.recv(65_536)))
        except BlockingIOError:
            return packets


@pytest.fixture
def recording(tmp_path) -> Path:
    sf.write(tmp_path / "a.wav", noise(0.5, rate_hz=44_100), 44_100)
    return tmp_path / "a.wav"


def frames_of(recording: Path, model: Model, **options) -> np.ndarray:
    samples, rate_hz = sf.read(recording, dtype="float32")
    return Animator(model, rate_hz=rate_hz, **options).animate(samples).weights


def run(monkeypatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["facedistill", "live", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


# Packets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24, 30, 60])
@pytest.mark.parametrize("smooth", [False, True])
def test_unreal_gets_every_frame_of_the_engine_bit_for_bit(unreal, recording, fps, smooth):
    model = Model(model_path())
    n_sent = module.live(module.stream_recording(recording, fps), model, unreal.getsockname(), fps=fps, ensemble=smooth)
    packets, expected = received(unreal), frames_of(recording, model, fps=fps, ensemble=smooth)
    assert n_sent == len(packets) == len(expected) == np.ceil(fps / 2)
    for packet, row in zip(packets, expected, strict=True):
        assert packet.curves == dict(zip(model.metadata.curves, row.tolist(), strict=True))
        assert (packet.rotations, packet.subframe, packet.rate) == ((0.0,) * 9, 0.0, (fps, 1))
    assert [packet.frame - packets[0].frame for packet in packets] == list(range(len(packets)))
    assert 0 <= packets[0].frame < 86_400 * fps


def test_curves_go_by_name_and_not_by_place(unreal, recording, tmp_path):
    """A model that gives its curves the other way round, and calls one something that Unreal does not know."""
    graph = build(student(), iter([noise(1.0)]))["float32", "streaming"]
    metadata = Model(exported()["float32", "streaming"]).metadata
    turned = Model(write_model(tmp_path, graph, replace(metadata, curves=("tongueRoll", *metadata.curves[:0:-1]))))
    module.live(module.stream_recording(recording, 60), turned, unreal.getsockname())
    expected = frames_of(recording, turned, fps=60)
    for packet, row in zip(received(unreal), expected, strict=True):
        named = dict(zip(turned.metadata.curves, row.tolist(), strict=True))
        assert packet.curves == {name: named.get(name, 0.0) for name in ORDER}


def test_a_subject_keeps_its_name_and_its_device(unreal, recording):
    devices = {}
    for subject in ("Zoë 話す", "Zoë 話す", "other"):
        module.live(module.stream_recording(recording, 24), Model(model_path()), unreal.getsockname(), fps=24, subject=subject)
        packets = received(unreal)
        assert {packet.subject for packet in packets} == {subject}
        assert len({packet.device for packet in packets}) == 1
        devices.setdefault(subject, set()).add(packets[0].device)
    assert [len(found) for found in devices.values()] == [1, 1] and devices["Zoë 話す"] != devices["other"]
    assert re.fullmatch(r"\$[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", devices["other"].pop())


def test_blinks_are_the_eyes_of_their_seed(unreal, recording):
    model, options = Model(model_path()), {"fps": 60}
    module.live(module.stream_recording(recording, 60), model, unreal.getsockname(), blinks=5)
    weights = frames_of(recording, model, **options)
    expected = Eyes(5).apply(weights, np.arange(len(weights)) / 60, model.metadata.curves)
    for packet, row in zip(received(unreal), expected, strict=True):
        np.testing.assert_allclose([packet.curves[name] for name in model.metadata.curves], row, atol=1e-6)


# Pace -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fps", [24, 60])
@pytest.mark.parametrize("work_s", [0.0, 0.004, 0.1])
def test_no_chunk_is_given_before_its_time_and_time_does_not_drift(recording, clock, fps, work_s):
    """However long the work on a chunk takes; a machine that is too slow falls behind and is not made slower."""
    samples, rate_hz = sf.read(recording, dtype="float32")
    given_hz, chunks = module.stream_recording(recording, fps)
    start_s, audio, steps = clock.now_s, [], []
    for chunk in chunks:
        audio.append(chunk)
        assert clock.now_s - start_s >= sum(map(len, audio)) / rate_hz
        clock.now_s += work_s
        steps.append(clock.now_s - start_s)
    assert given_hz == rate_hz
    np.testing.assert_array_equal(np.concatenate(audio), samples)
    assert [len(chunk) for chunk in audio] == [len(part) for part in np.split(samples, np.arange(1, len(audio)) * rate_hz // fps)]
    late_s = steps[-1] - 0.5 - work_s
    assert late_s <= (0.002 if work_s < 1 / fps else work_s * len(steps))


@pytest.mark.parametrize("smooth", [False, True])
def test_frames_go_out_at_an_even_pace_as_soon_as_they_can_be_known(unreal, recording, clock, monkeypatch, smooth):
    sent, start_s, packet = [], clock.now_s, module.packet

    def noted(*given, **named) -> bytes:
        sent.append(clock.now_s - start_s)
        return packet(*given, **named)

    monkeypatch.setattr(module, "packet", noted)
    model = Model(model_path())
    module.live(module.stream_recording(recording, 60), model, unreal.getsockname(), ensemble=smooth)
    animator = Animator(model, rate_hz=44_100, fps=60, ensemble=smooth)
    late_s = np.array(sent) - np.arange(30) / 60
    assert late_s.min() >= animator.lookahead_s, "not before it can be known"
    assert late_s.min() < animator.lookahead_s + 1 / 60 + 0.001 and np.ptp(late_s) < 0.005, "but soon, after the end too"


# Where nobody listens -------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def listening(port: int = 0) -> socket.socket:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", port))
    server.setblocking(False)
    return server


def test_where_nobody_listens_that_is_told_once(recording, monkeypatch, capsys):
    port = closed_port()
    assert run(monkeypatch, "--target", f"127.0.0.1:{port}", "--wav", recording, "--model", model_path()) == 0
    _, note, end = capsys.readouterr().err.splitlines()
    assert note == f"note: --target 127.0.0.1:{port}: nobody listens there; frames are sent on"
    assert end == "live: 30 frames sent"


def test_a_receiver_that_comes_and_goes_gets_every_frame_while_it_is_there(clock, caplog):
    """Each outage is told once; one that ends for less than OUTAGE_S is the same as before."""
    server = listening()
    address = server.getsockname()
    with closing(module._Receiver(*address)) as receiver:

        def sent(n_frames: int, every_s: float = 0.1) -> list[bytes]:
            packets = []
            for number in range(n_frames):
                receiver.send(bytes([number]))
                packets += [] if server.fileno() < 0 else [server.recv(100)]  # at once: BlockingIOError where it did not come
                clock.now_s += every_s
            return packets

        assert sent(5) == [bytes([number]) for number in range(5)] and caplog.messages == []
        server.close()
        sent(100)
        assert len(caplog.messages) == 1
        for n_outages, back_s in ((1, 1.0), (2, 10.0)):
            server = listening(address[1])
            n_frames = round(back_s / 0.1)
            assert sent(n_frames) == [bytes([number]) for number in range(n_frames)]
            server.close()
            sent(10)
            assert len(caplog.messages) == n_outages


def test_a_name_with_two_addresses_is_heard_at_either(monkeypatch, clock):
    server = listening()
    dead, alive = (
        (socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("127.0.0.1", port)) for port in (closed_port(), server.getsockname()[1])
    )
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [dead, alive])
    with closing(module._Receiver("both", 1)) as receiver, closing(server):
        for number in range(3):
            receiver.send(bytes([number]))
        assert [server.recv(100) for _ in range(2)] == [bytes([1]), bytes([2])]


@pytest.mark.parametrize("failing", ["connect", "send"])
@pytest.mark.parametrize("code", module.UNREACHED)
def test_a_network_that_comes_back(unreal, monkeypatch, caplog, code, failing):
    is_down = True

    class Socket(socket.socket):
        def _check(self) -> None:
            if is_down:
                raise OSError(code, "no network")

        def connect(self, address) -> None:
            if failing == "connect":
                self._check()
            super().connect(address)

        def send(self, packet) -> int:
            if failing == "send":
                self._check()
            return super().send(packet)

    monkeypatch.setattr(socket, "socket", Socket)
    host, port = unreal.getsockname()
    with closing(module._Receiver(host, port)) as receiver:
        for _ in range(3):
            receiver.send(b"lost")
        is_down = False
        receiver.send(b"state_out")
    assert unreal.recv(100) == b"state_out"
    assert caplog.messages == [f"--target {host}:{port}: cannot be reached now (no network); frames are sent on"]


def test_what_does_not_pass_ends_it(monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", refused)
    with pytest.raises(InputError, match=r"^--target 127.0.0.1:9: cannot be reached \(.*Permission denied\)$"):
        module._Receiver("127.0.0.1", 9).send(b"")


@pytest.mark.parametrize("host", ["a..b", "x" * 100, "unknown"])
def test_a_host_that_is_none(recording, monkeypatch, host):
    resolve = socket.getaddrinfo

    def without_network(name, *arguments, **options):
        if name == "unknown":
            raise socket.gaierror(-2, "Name or service not known")
        return resolve(name, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", without_network)
    with pytest.raises(InputError, match=rf"^--target {host}:11111: cannot be reached \(.*\)$"):
        module.live(module.stream_recording(recording, 60), Model(model_path()), (host, 11_111))


@pytest.mark.parametrize(
    "target", ["", "11111", "localhost", "localhost:", ":11111", "localhost:0", "localhost:65536", "h:-1", "h:x", "h:²"]
)
def test_a_target_without_host_or_port(recording, monkeypatch, capsys, target):
    assert run(monkeypatch, "--target", target, "--wav", recording, "--model", model_path()) == 2
    assert capsys.readouterr().err.startswith(f"error: --target {target}; expected HOST:PORT with a port from 1 to 65535, ")


def test_the_command_line_sends_all(unreal, recording, monkeypatch, capsys):
    target = f"127.0.0.1:{unreal.getsockname()[1]}"
    assert run(monkeypatch, "--target", target, "--wav", recording, "--model", model_path(), "--fps", 30, "--subject", "Ada") == 0
    packets = received(unreal)
    assert len(packets) == 15 and {packet.subject for packet in packets} == {"Ada"}
    assert capsys.readouterr().err.splitlines()[-1] == "live: 15 frames sent"


def test_an_address_may_be_ipv6():
    assert cli._address("[::1]:11111") == ("::1", 11_111)
    assert cli._address("studio.local:54321") == ("studio.local", 54_321)


# Microphones ----------------------------------------------------------------------------------------------------------


def fake_sounddevice(monkeypatch, chunks=(), *, devices=1, opens: bool = True) -> SimpleNamespace:
    """A sounddevice whose default microphone hears the given chunks at 48 kHz; what was asked of it is kept in `asked`."""

    class PortAudioError(Exception):
        pass

    class InputStream:
        def __init__(self, *, callback, **asked):
            if not opens:
                raise PortAudioError("Invalid sample rate")
            made.asked, self.callback = asked, callback

        def __enter__(self):
            for chunk in chunks:
                borrowed = chunk[:, None].copy()
                self.callback(borrowed, len(borrowed), None, None)
                borrowed[:] = np.nan  # PortAudio uses its buffers again
            return self

        def __exit__(self, *_):
            made.closed = True

    def query_devices(kind):
        assert kind == "input"
        if not devices:
            raise PortAudioError("Error querying device -1")
        return {"default_samplerate": 48_000.0}

    made = SimpleNamespace(PortAudioError=PortAudioError, InputStream=InputStream, query_devices=query_devices, closed=False)
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


def test_a_microphone_is_heard_as_a_recording_is(unreal, monkeypatch):
    samples = noise(0.5, rate_hz=48_000)
    chunks = samples.reshape(30, -1)
    device = fake_sounddevice(monkeypatch, chunks)
    rate_hz, audio = module.stream_microphone(60)
    model, some = Model(model_path()), itertools.islice(audio, 30)
    assert module.live((rate_hz, some), model, unreal.getsockname()) == 30
    expected = Animator(model, rate_hz=48_000, fps=60).animate(samples).weights
    for packet, row in zip(received(unreal), expected, strict=True):
        assert packet.curves == dict(zip(model.metadata.curves, row.tolist(), strict=True))
    assert device.asked == {"samplerate": 48_000, "blocksize": 800, "channels": 1, "dtype": "float32"}
    audio.close()
    assert device.closed


def test_ctrl_c_is_how_a_microphone_ends(unreal, monkeypatch, capsys):
    def interrupted():
        yield np.zeros((800,), np.float32)
        raise KeyboardInterrupt

    fake_sounddevice(monkeypatch, interrupted())
    assert run(monkeypatch, "--target", f"127.0.0.1:{unreal.getsockname()[1]}", "--mic", "--model", model_path()) == 0
    assert capsys.readouterr().err.endswith("live: 0 frames sent\n")


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        (lambda patch: patch.setitem(sys.modules, "sounddevice", None), "--mic: no access to microphones "),
        (lambda patch: fake_sounddevice(patch, devices=0), "--mic: no microphone (Error querying device -1)"),
        (lambda patch: fake_sounddevice(patch, opens=False), "--mic: the microphone cannot be opened (Invalid sample rate)"),
    ],
)
def test_no_microphone_is_one_line(unreal, monkeypatch, capsys, fake, message):
    fake(monkeypatch)
    assert run(monkeypatch, "--target", f"127.0.0.1:{unreal.getsockname()[1]}", "--mic", "--model", model_path()) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {message}")
