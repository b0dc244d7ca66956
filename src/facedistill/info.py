"""What a model's file says of itself, in words."""

import hashlib
from pathlib import Path

from facedistill.runtime import Animator, Model, find_model
from facedistill.runtime.model import STREAMING, Facts, open_session


def print_info(model: str) -> None:
    """Prints what an exported model is, window graphs too, by its name or path; InputError unless `find_model` finds one."""
    path = find_model(model, windows=True)
    _, facts = open_session(path)
    for name, value in described(path, facts).items():
        print(f"{name:16} {value}")


def described(path: Path, facts: Facts) -> dict[str, str]:
    """{property: its value in words}."""
    content, per_ms = path.read_bytes(), facts.sample_rate_hz / 1000
    rows = {
        "model": f"{facts.name}, {facts.precision}",
        "file": str(path),
        "size": f"{len(content):,} bytes",
        "SHA-256": hashlib.sha256(content).hexdigest(),
        "kind": f"{facts.kind} graph",
        "hears": f"mono sound at {facts.sample_rate_hz:,} Hz, {facts.window_samples / per_ms:g} ms a frame: "
        f"{facts.past_samples / per_ms:g} ms before it and {facts.future_samples / per_ms:g} ms after",
        "step": f"{facts.hop_samples / per_ms:g} ms",
    }
    if facts.kind == STREAMING:
        loaded = Model(path)
        for fps in (30, 60):
            plain, smooth = (1000 * Animator(loaded, fps=fps, ensemble=ensemble).lookahead_s for ensemble in (False, True))
            rows[f"delay at {fps} fps"] = f"at most {plain:.1f} ms; {smooth:.1f} ms with --ensemble"
    return rows | {
        f"gives {len(facts.curves)} curves": ", ".join(facts.curves),
        "licence": facts.licence,
        "training data": f"SHA-256 {facts.training_data_sha256}",
    }
