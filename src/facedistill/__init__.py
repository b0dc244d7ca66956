"""Tiny speech-driven facial animation models, distilled from a HuBERT teacher.

The file list is the data flow: prepare -> teach -> label -> distill -> ablate -> evaluate -> notebooks.

Axis letters, used in every docstring and shape comment:

    B batch, S audio samples at 16 kHz, L encoder or student grid frames, T animation frames,
    C channels, K rig curves (ARKit, 52), V vertices, F triangles, N utterances or intervals; where materials meet,
    several vertices lie in one of P points.
"""

__version__ = "0.1.0"
