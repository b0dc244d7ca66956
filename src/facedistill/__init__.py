"""Tiny speech-driven facial animation models, distilled from a HuBERT teacher.

The file list is the data flow: prepare -> teach -> label -> distill -> ablate -> evaluate -> notebooks.

Axis letters, used in every docstring and shape comment:

    B batch, S audio samples at 16 kHz, L encoder or student grid frames, T animation frames,
    C channels, K rig curves (ARKit, 52), V vertices, F triangles, N utterances or intervals; where materials meet,
    several vertices lie in one of P points.
"""

import logging
import os
import sys

STAGES = ("prepare", "align", "teach", "label", "distill", "ablate", "teachers", "evaluate", "export")  # in their order
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
