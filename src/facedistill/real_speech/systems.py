"""Systems as functions: sounds in, curves out; heavy libraries load with the systems that need them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from facedistill.animate import Settings as EngineSettings
from facedistill.animate import animate_samples
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.face.arkit import CURVES
from facedistill.formats.animation import Animation, regular
from facedistill.measure.baselines import amplitude_envelope
from facedistill.real_speech import peers
from facedistill.real_speech.inventory import System
from facedistill.real_speech.names import ENVELOPE, PEER, STUDENT, TEACHER
from facedistill.real_speech.recordings import Recording
from facedistill.real_speech.settings import Settings
from facedistill.runtime import Model

DECIMALS = 6  # of weights in files, as `animate` rounds them
Many = Callable[[Sequence[np.ndarray]], list[Animation]]  # (S,) sounds at 16 kHz -> curves of each


def animator(system: System, settings: Settings, folder: Path, calibration: Sequence[Recording]) -> Many:
    """What animates many sounds with one system.

    Args:
        folder: of the benchmark.
        calibration: recordings that a peer may be calibrated on.

    Raises:
        InputError: the model cannot be used; of the function, what `animate.animate_samples` and `peers.animate` raise.
    """
    if system.kind == PEER:
        return lambda audios: [
            _rounded(curves, settings.fps)
            for curves in peers.animate(system.name, audios, fps=settings.fps, folder=folder, calibration=calibration)
        ]
    if system.kind == STUDENT:
        model, engine = Model(system.path), EngineSettings(system.path, fps=settings.fps)
        return lambda audios: [animate_samples(audio, SAMPLE_RATE_HZ, model, engine) for audio in audios]
    one = _one(system, settings)
    return lambda audios: [_rounded(one(audio), settings.fps) for audio in audios]


def _one(system: System, settings: Settings) -> Callable[[np.ndarray], np.ndarray]:
    """(S,) -> (T, 52)."""
    if system.kind == ENVELOPE:
        return lambda audio: amplitude_envelope(audio, fps=settings.fps)
    from facedistill.models.workers import device

    if system.kind == TEACHER:
        from facedistill.models.teacher import load_teacher

        teacher = load_teacher(system.path.parent).to(device())
        return lambda audio: teacher.animate(audio, settings.fps, settings.chunk_s)
    from facedistill.models.student import load_student

    student = load_student(system.path.parent).to(device())
    return lambda audio: student.animate(audio, fps=settings.fps)


def _rounded(weights: np.ndarray, fps: int) -> Animation:
    return regular(CURVES, np.asarray(weights, np.float64).round(DECIMALS), fps)
