"""The input of the original Voice2Face (Villanueva Aylagas et al., SCA 2022): cepstra and subband centroids in place of HuBERT.

It has a `transformers` model's face, so that it can stand where a HuBERT does. Nothing but its scaling is learnt.
"""

import math

import torch
import torchaudio
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from facedistill.core.sound import SAMPLE_RATE_HZ

WINDOW_SAMPLES, HOP_SAMPLES, FFT_SAMPLES = 400, 160, 512  # 25 ms, 10 ms
N_BANDS, N_CEPSTRA = 26, 13
FLOOR = 1e-7


class MfccConfig(PretrainedConfig):
    """`conv_kernel` and `conv_stride` tell the times of the frames, as a HuBERT's do."""

    model_type = "mfcc"

    def __init__(self, **kwargs) -> None:
        self.hidden_size = N_CEPSTRA + N_BANDS
        self.conv_kernel, self.conv_stride = (WINDOW_SAMPLES,), (HOP_SAMPLES,)
        super().__init__(**kwargs)


class MfccEncoder(PreTrainedModel):
    """13 MFCC and 26 spectral subband centroids every 10 ms."""

    config_class = MfccConfig

    def __init__(self, config: MfccConfig) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(config.hidden_size)
        self.post_init()

    @torch.autocast("cpu", enabled=False)  # as in `filterbank.Filterbank`
    @torch.autocast("cuda", enabled=False)
    def forward(self, audio: Tensor) -> BaseModelOutput:
        """(B, S) at 16 kHz -> `last_hidden_state` (B, L, 39)."""
        frames = audio.unfold(1, WINDOW_SAMPLES, HOP_SAMPLES) * torch.hamming_window(WINDOW_SAMPLES, device=audio.device)
        power = torch.fft.rfft(frames.float(), FFT_SAMPLES).abs().square()  # (B, L, F)
        bins = FFT_SAMPLES // 2 + 1
        bands = torchaudio.functional.melscale_fbanks(bins, 0.0, SAMPLE_RATE_HZ / 2, N_BANDS, SAMPLE_RATE_HZ).to(power)
        frequency = torch.linspace(0, 1, bins, device=power.device)[:, None]
        energy = power @ bands + FLOOR
        centroids = (power @ (bands * frequency)) / energy
        cepstra = energy.log() @ torchaudio.functional.create_dct(N_CEPSTRA, N_BANDS, "ortho").to(power)
        found = torch.cat([cepstra / math.sqrt(N_BANDS), centroids], dim=2)
        return BaseModelOutput(last_hidden_state=self.norm(found.transpose(1, 2)).transpose(1, 2))
