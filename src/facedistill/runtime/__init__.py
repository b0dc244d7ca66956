"""Sound in, ARKit curves out, in a stream: NumPy and onnxruntime are all that it needs.

from facedistill.runtime import Animator, Model, find_model

animator = Animator(Model(find_model("tiny-real-time")), rate_hz=48_000, fps=60)
frames = animator.push(samples)  # times_s (T,) and weights (T, K), as soon as they are known
"""

from facedistill.runtime.animator import Animator, Frames
from facedistill.runtime.eyes import Eyes
from facedistill.runtime.model import Model
from facedistill.runtime.released import find_model

__all__ = ["Animator", "Eyes", "Frames", "Model", "find_model"]
