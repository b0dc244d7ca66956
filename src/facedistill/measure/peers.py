"""Other people's lip-sync tools, if they are installed: a command, or packages for browsers that `peers.mjs` runs in node."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy
import soundfile as sf

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.files import read_json, write_json
from facedistill.rig.arkit import N_CURVES, columns
from facedistill.rig.curves import FPS, n_frames
from facedistill.speech.phones import VOWELS, Phone, sounds

PLAYED_RATE_HZ = 48_000  # the rate that browsers play at
ADAPTER = "peers.mjs"
CALIBRATION_POINTS = 12  # of each vowel, as uLipSync keeps
MIN_VOWEL_S = 0.08  # shorter vowels are not said clearly

Labelled = tuple[np.ndarray, Sequence[Phone]]  # (S,) at 16 kHz and its timed phones, never what is tested on

_CLOSED = {"mouthRollLower": 0.35, "mouthRollUpper": 0.2, "mouthPress": 0.3}  # lips pressed together: tighter than at rest
_TUCKED = {"jawOpen": 0.03, "mouthRollLower": 0.5, "mouthUpperUp": 0.15}  # the lower lip under the teeth

# One table a vocabulary: shapes part the lips no more than the tool's own pictures of them do.
# The 15 visemes of Oculus and their example sounds; HeadAudio and wawa-lipsync give these.
OCULUS: dict[str, dict[str, float]] = {
    "sil": {},
    "PP": _CLOSED,
    "FF": _TUCKED,
    "TH": {"jawOpen": 0.10, "mouthLowerDown": 0.10, "tongueOut": 0.3},
    "DD": {"jawOpen": 0.08, "mouthLowerDown": 0.10},
    "kk": {"jawOpen": 0.12, "mouthLowerDown": 0.05},
    "CH": {"jawOpen": 0.06, "mouthFunnel": 0.15, "mouthPucker": 0.3},
    "SS": {"jawOpen": 0.04, "mouthLowerDown": 0.12, "mouthStretch": 0.2},
    "nn": {"jawOpen": 0.08, "mouthLowerDown": 0.08},
    "RR": {"jawOpen": 0.08, "mouthPucker": 0.3},
    "aa": {"jawOpen": 0.40, "mouthLowerDown": 0.20},
    "E": {"jawOpen": 0.28, "mouthLowerDown": 0.20, "mouthStretch": 0.2},
    "I": {"jawOpen": 0.20, "mouthLowerDown": 0.20, "mouthSmile": 0.2},
    "O": {"jawOpen": 0.28, "mouthFunnel": 0.2, "mouthPucker": 0.3},
    "U": {"jawOpen": 0.18, "mouthFunnel": 0.1, "mouthPucker": 0.6},
}
# uLipSync's five vowels, on which it is calibrated, and "-", its noise.
ULIPSYNC: dict[str, dict[str, float]] = {
    "A": OCULUS["aa"], "E": OCULUS["E"], "I": OCULUS["I"], "O": OCULUS["O"], "U": OCULUS["U"], "-": {},
}  # fmt: skip
# Rhubarb's shapes, A-F of Hanna-Barbera and the extended G, H and X, as its manual describes them.
RHUBARB: dict[str, dict[str, float]] = {
    "A": _CLOSED,  # P, B, M
    "B": {"jawOpen": 0.06, "mouthLowerDown": 0.12, "mouthStretch": 0.2},  # most consonants, and EE
    "C": {"jawOpen": 0.28, "mouthLowerDown": 0.20},  # EH, AE, and between shapes
    "D": {"jawOpen": 0.40, "mouthLowerDown": 0.20},  # AA
    "E": {"jawOpen": 0.26, "mouthFunnel": 0.2, "mouthPucker": 0.3},  # AO, ER
    "F": {"jawOpen": 0.12, "mouthFunnel": 0.1, "mouthPucker": 0.6},  # UW, OW, W
    "G": _TUCKED,  # F, V
    "H": {"jawOpen": 0.20, "mouthLowerDown": 0.10, "tongueOut": 0.1},  # L
    "X": {},  # silence
}


@dataclass(frozen=True)
class Peer:
    """A tool that others made: how it is run, and what its shapes are in ARKit's curves."""

    package: str  # of npm; empty for a command
    shapes: Mapping[str, Mapping[str, float]]  # its vocabulary
    calibrated: bool = False  # it must hear vowels first


PEERS = {
    "headaudio": Peer("@met4citizen/headaudio", OCULUS),
    "rhubarb": Peer("", RHUBARB),
    "wawa-lipsync": Peer("wawa-lipsync", OCULUS),
    "wlipsync": Peer("wlipsync", ULIPSYNC, calibrated=True),
}


def curves_of(shapes: Mapping[str, np.ndarray], table: Mapping[str, Mapping[str, float]]) -> np.ndarray:
    """{shape of a table: (T,) its share in each frame} -> (T, 52) float64 curves in 0..1; a curve without a side moves both."""
    weights = np.zeros((len(next(iter(shapes.values()))), N_CURVES))
    for shape, share in shapes.items():
        for name, weight in table[shape].items():
            weights[:, columns(name)] += weight * share[:, None]
    return np.clip(weights, 0, 1)


def version(name: str, folder: Path) -> str:
    """The version of a peer of `PEERS`, whose node_modules are in a folder; InputError where it is not installed."""
    package = PEERS[name].package
    command = "node" if package else name
    if shutil.which(command) is None:
        raise InputError(f"no command `{command}`")
    if not package:
        return _run([name, "--version"]).strip().split()[-1]
    described = folder / "node_modules" / package / "package.json"
    if not described.is_file():
        raise InputError(f"no package {package}; run `npm ci` in {folder.name}")
    return str(read_json(described)["version"])


def animate(name: str, audios: Sequence[np.ndarray], *, folder: Path, calibration: Sequence[Labelled] = ()) -> list[np.ndarray]:
    """What a peer in `folder` makes of (S,) recordings at 16 kHz: (T, 52) float64 curves at 60 fps; InputError if it fails."""
    peer = PEERS[name]
    with TemporaryDirectory(prefix="facedistill-peers-") as scratch:
        try:
            if peer.package:
                shares = _run_package(name, audios, Path(scratch), folder, calibration)
            else:
                shares = [_run_rhubarb(audio, Path(scratch) / "speech.wav") for audio in audios]
            found = [curves_of(one, peer.shapes) for one in shares]
            if not all(np.isfinite(curves).all() for curves in found):
                raise ValueError("shares that are no numbers")
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{name}: gave no shapes that are known ({error!r})") from None
    kept = [np.minimum(np.arange(n_frames(len(audio))), len(curves) - 1) for audio, curves in zip(audios, found, strict=True)]
    return [curves[frames] for curves, frames in zip(found, kept, strict=True)]  # what ends early is held at its last frame


def calibration_points(phones: Sequence[Phone]) -> list[tuple[float, str]]:
    """(time in s, one of A E I O U or "-") of the clear vowels and the silences of a recording, in order of time."""
    clear = [phone for phone in phones if phone.end_s - phone.start_s >= MIN_VOWEL_S]
    return [((phone.start_s + phone.end_s) / 2, name) for phone in clear if (name := _cardinal(phone.label))]


def _cardinal(ipa: str) -> str | None:
    """The nearest of five vowels, "-" for silence."""
    found = sounds(ipa)
    if not found:
        return "-"
    if len(found) != 1 or found[0].letter not in VOWELS:
        return None
    openness, back, _ = VOWELS[found[0].letter]
    if openness >= 0.8:
        return "A"
    if 0.3 < back < 0.7:
        return None
    return ("I" if openness < 0.2 else "E") if back < 0.5 else ("U" if openness < 0.2 else "O")


def _run_package(
    name: str, audios: Sequence[np.ndarray], scratch: Path, folder: Path, calibration: Sequence[Labelled]
) -> list[dict[str, np.ndarray]]:
    def played(audio: np.ndarray, stem: str) -> str:
        path = scratch / f"{stem}.f32"
        scipy.signal.resample_poly(audio, PLAYED_RATE_HZ // SAMPLE_RATE_HZ, 1).astype("<f4").tofile(path)
        return str(path)

    points = _calibration(calibration[:20]) if PEERS[name].calibrated else {}
    if PEERS[name].calibrated and not points:
        raise InputError(f"{name}: no labelled recordings to calibrate on")
    labelled = {number: played(calibration[number][0], f"calibration-{number}") for number in points}
    job = {
        "rate_hz": PLAYED_RATE_HZ,
        "fps": FPS,
        "calibration": [{"recording": path, "points": points[number]} for number, path in labelled.items()],
        "out": str(scratch / "shapes.json"),
        "recordings": [played(audio, f"{index}") for index, audio in enumerate(audios)],
    }
    write_json(scratch / "job.json", job)
    _run(["node", str(folder / ADAPTER), name, str(scratch / "job.json")])
    recordings = read_json(scratch / "shapes.json")["recordings"]
    return [{shape: np.array(shares, np.float64) for shape, shares in one.items()} for one in recordings]


def _calibration(recordings: Sequence[Labelled]) -> dict[int, list[tuple[float, str]]]:
    """{number of a recording: points}: at most `CALIBRATION_POINTS` of each vowel, from as few recordings as it takes."""
    taken, found = Counter(), {}
    for number, (_, phones) in enumerate(recordings):
        for time_s, name in calibration_points(phones):
            if taken[name] < CALIBRATION_POINTS:
                taken[name] += 1
                found.setdefault(number, []).append((time_s, name))
    return found


def _run_rhubarb(audio: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """The cues of Rhubarb's phone recogniser, which needs no language, held until the next."""
    sf.write(path, np.clip(audio, -1, 1), SAMPLE_RATE_HZ, subtype="PCM_16")
    cues = json.loads(_run(["rhubarb", "--quiet", "--exportFormat", "json", "--recognizer", "phonetic", str(path)]))["mouthCues"]
    times_s = np.arange(n_frames(len(audio))) / FPS
    shares = {shape: np.zeros(len(times_s)) for shape in RHUBARB}
    for cue in cues:
        shares[cue["value"]][(times_s >= cue["start"]) & (times_s < cue["end"])] = 1
    return shares


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{command[0]}: cannot be run ({error})") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        message = next((line for line in lines if "rror" in line), lines[-1] if lines else "")
        raise InputError(f"{' '.join(command[:3])}: failed with exit code {done.returncode} ({message.strip()})")
    return done.stdout
