"""What a model's file says of itself, in words."""

import hashlib

from facedistill.runtime import Animator, Model, find_model
from facedistill.runtime.model import STREAMING, open_session


def print_info(model: str) -> None:
    """Prints what an exported model is, window graphs too, by its name or path; InputError unless `find_model` finds one."""
    path = find_model(model, windows=True)
    _, metadata = open_session(path)
    content, per_ms = path.read_bytes(), metadata.sample_rate_hz / 1000
    delays = {}
    if metadata.kind == STREAMING:
        loaded = Model(path)
        for fps in (30, 60):
            plain, smooth = (1000 * Animator(loaded, fps=fps, ensemble=ensemble).lookahead_s for ensemble in (False, True))
            delays[f"delay at {fps} fps"] = f"at most {plain:.1f} ms; {smooth:.1f} ms with --ensemble"
    rows = {
        "model": f"{metadata.name}, {metadata.precision}",
        "file": str(path),
        "size": f"{len(content):,} bytes",
        "SHA-256": hashlib.sha256(content).hexdigest(),
        "kind": f"{metadata.kind} graph",
        "hears": f"mono sound at {metadata.sample_rate_hz:,} Hz, {metadata.window_samples / per_ms:g} ms a frame: "
        f"{metadata.past_samples / per_ms:g} ms before it and {metadata.future_samples / per_ms:g} ms after",
        "step": f"{metadata.hop_samples / per_ms:g} ms",
        **delays,
        f"gives {len(metadata.curves)} curves": ", ".join(metadata.curves),
        "licence": metadata.licence,
        "training data": f"SHA-256 {metadata.training_data_sha256}",
    }
    for name, value in rows.items():
        print(f"{name:16} {value}")
