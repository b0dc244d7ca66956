"""Tiny speech-driven facial animation models, distilled from a HuBERT teacher.

The stages are the data flow: prepare, align, teach, label, distill, ablate, teachers, evaluate, export; then the notebooks.

Axis letters, used in every docstring and shape comment:

    B batch, S audio samples at 16 kHz, L encoder or student grid frames, T animation frames,
    C channels, K rig curves (ARKit, 52), V vertices, F triangles, N utterances or intervals; where materials meet,
    several vertices lie in one of P points.
"""

import logging
import os
import sys

# stage, a module of `pipeline` -> (what it does, what it makes one of or None), in their order
STAGES = {
    "check": ("Check the parameters and what they name, and write down which code each stage depends on.", None),
    "prepare": ("Make the corpora: audio, timed phones and rig curves, with one manifest.", None),
    "align": ("Time the phones of transcribed recordings, and make curves of them.", None),
    "teach": ("Train the teacher on the paired split.", None),
    "label": ("Let the teacher pseudo-label the training audio.", None),
    "distill": ("Train one student on the pseudo-labels.", "student"),
    "ablate": ("Train one ablation variant of a student.", "variant"),
    "teachers": ("Let another teacher make a student: one of ours, or an external one's labels.", "teacher"),
    "evaluate": ("Measure the teacher, the students and the baselines on the test sets.", None),
    "export": ("Write a student as ONNX files in every precision, each checked and measured.", "student"),
}
NO_TELEMETRY = (
    "ORT_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_TELEMETRY",
    "HF_HUB_DISABLE_UPDATE_CHECK",
    "DISABLE_SAFETENSORS_CONVERSION",
)
if "onnxruntime" in sys.modules and os.environ.get(NO_TELEMETRY[0]) != "1":
    logging.getLogger(__name__).warning(
        "onnxruntime was imported before facedistill, and reports to its makers; expected facedistill first, or %s=1",
        NO_TELEMETRY[0],
    )
os.environ |= dict.fromkeys(NO_TELEMETRY, "1")  # libraries that report home when they are imported, or used, do not
