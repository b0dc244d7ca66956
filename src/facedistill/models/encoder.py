"""The teacher's speech encoder: a HuBERT, pretrained on a hub or local, or small and from scratch; or mere cepstra."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from facedistill.core import SAMPLE_RATE_HZ
from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.core.sections import POSITION_GROUPS, EncoderParams
from facedistill.models.filterbank import ENERGY_FLOOR, KERNEL_SAMPLES, POOL, STRIDE_SAMPLES, Filterbank, blocks, full_precision

SCRATCH, MFCC = "scratch", "mfcc"
DILATIONS = (1, 2, 4, 8)
TARGET_RMS = 0.1  # loudness the encoder hears every utterance at
SILENCE_RMS = 1e-3  # quieter utterances are not amplified beyond what this would be
# Augmented audio is all the noise that training needs, and networks in training draw no random numbers (see `training`).
NO_DROPOUT = dict.fromkeys(
    ("layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "mask_time_prob"), 0.0
)
MFCC_WINDOW_SAMPLES, MFCC_HOP_SAMPLES, FFT_SAMPLES = 400, 160, 512  # 25 ms, 10 ms
N_BANDS, N_CEPSTRA = 26, 13


class FilterbankHubert(HubertModel):
    """HuBERT's transformer behind a filterbank, since in minutes of CPU its own convolutions learn no more than mel bands."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__(config)
        widths = [config.filterbank_filters] + [config.conv_dim[-1]] * len(DILATIONS)
        self.feature_extractor = nn.Sequential(Filterbank(config.filterbank_filters), *blocks(widths, DILATIONS, same=True))


class MfccConfig(PretrainedConfig):
    """Describes the encoder that computes MFCCs, as `transformers` describes a network."""

    model_type = MFCC

    def __init__(self, **kwargs) -> None:
        self.hidden_size = N_CEPSTRA + N_BANDS
        self.conv_kernel, self.conv_stride = (MFCC_WINDOW_SAMPLES,), (MFCC_HOP_SAMPLES,)  # the times of frames, as a HuBERT's
        super().__init__(**kwargs)


class MfccEncoder(PreTrainedModel):
    """13 MFCC and 26 spectral subband centroids every 10 ms, only scaled: the input of the original Voice2Face (SCA 2022)."""

    config_class = MfccConfig

    def __init__(self, config: MfccConfig) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(config.hidden_size)
        self.post_init()

    @full_precision  # as in `filterbank.Filterbank`
    def forward(self, audio: Tensor) -> BaseModelOutput:
        """(B, S) at 16 kHz -> `last_hidden_state` (B, L, 39)."""
        window = torch.hamming_window(MFCC_WINDOW_SAMPLES, device=audio.device)
        frames = audio.unfold(1, MFCC_WINDOW_SAMPLES, MFCC_HOP_SAMPLES) * window
        power = torch.fft.rfft(frames.float(), FFT_SAMPLES).abs().square()  # (B, L, F)
        bins = FFT_SAMPLES // 2 + 1
        bands = torchaudio.functional.melscale_fbanks(bins, 0.0, SAMPLE_RATE_HZ / 2, N_BANDS, SAMPLE_RATE_HZ).to(power)
        frequency = torch.linspace(0, 1, bins, device=power.device)[:, None]
        energy = power @ bands + ENERGY_FLOOR
        centroids = (power @ (bands * frequency)) / energy
        cepstra = energy.log() @ torchaudio.functional.create_dct(N_CEPSTRA, N_BANDS, "ortho").to(power)
        found = torch.cat([cepstra / math.sqrt(N_BANDS), centroids], dim=2)
        return BaseModelOutput(last_hidden_state=self.norm(found.transpose(1, 2)).transpose(1, 2))


def build_encoder(params: EncoderParams) -> HubertModel | MfccEncoder:
    """Builds the encoder that the parameters name; InputError where it is no hub model that can be had, nor a local HuBERT."""
    if params.source == MFCC:
        return MfccEncoder(MfccConfig())
    if params.source == SCRATCH:
        return FilterbankHubert(HubertConfig(
            filterbank_filters=params.filters,
            hidden_size=params.width, num_hidden_layers=params.layers, num_attention_heads=params.heads,
            intermediate_size=params.feed_forward,
            conv_dim=(2 * params.filters, params.width), conv_kernel=(KERNEL_SAMPLES, POOL), conv_stride=(STRIDE_SAMPLES, POOL),
            num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=POSITION_GROUPS,
            do_stable_layer_norm=True, **NO_DROPOUT,
        ))  # fmt: skip

    def load(place: str, **options) -> HubertModel:
        config = HubertConfig.from_pretrained(place, **NO_DROPOUT)
        return _hubert(config).from_pretrained(place, config=config, **options)

    return load_pretrained("teach.encoder.source", params.source, (SCRATCH, MFCC), load)


def _hubert(config: HubertConfig) -> type[HubertModel]:
    return FilterbankHubert if hasattr(config, "filterbank_filters") else HubertModel


def load_pretrained(key: str, source: str, others: tuple[str, ...], load: Callable[..., PreTrainedModel]) -> PreTrainedModel:
    """A checkpoint of the hub or of a local folder, which a key of params.yaml names, in float32, by `load`(place, ...)."""
    place, use_safetensors = (str(ROOT / source), None) if (ROOT / source).is_dir() else (source, True)  # no pickles of the hub
    try:
        return load(place, use_safetensors=use_safetensors).float()
    except Exception as error:  # transformers, safetensors and torch have their own, without a common base
        reason, allowed = " ".join(str(error).split())[:200], "".join(f"{other!r}, " for other in others)
        raise InputError(f"{key}: {source!r} cannot be loaded ({reason}); expected {allowed}a hub id, a local folder") from None


def encoder_from_config(config: dict) -> HubertModel | MfccEncoder:
    """An untrained encoder of a saved configuration, for loading a whole teacher's weights into it."""
    if config["model_type"] == MFCC:
        return MfccEncoder(MfccConfig.from_dict(config))
    hubert = HubertConfig.from_dict(config)
    return _hubert(hubert)(hubert)


def save_encoder(encoder: HubertModel, folder: Path) -> None:
    """Saves a float16 checkpoint, which `teach.encoder.source` can name; the encoder itself is rounded to float16 by it."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    encoder.half().save_pretrained(temporary)
    encoder.float()
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def normalise_level(audio: Tensor) -> Tensor:
    """Brings (B, S) utterances to one loudness; teachers hear whole utterances, so they may."""
    rms = audio.square().mean(dim=1, keepdim=True).sqrt()
    return audio * (TARGET_RMS / rms.clamp(min=SILENCE_RMS))


def receptive_field_samples(config: PretrainedConfig) -> int:
    """What one frame of a HuBERT's or Wav2Vec2's convolutions sees."""
    return 1 + sum((kernel - 1) * math.prod(config.conv_stride[:layer]) for layer, kernel in enumerate(config.conv_kernel))


def encode_at(encoder: HubertModel, audio: Tensor, times_s: Tensor) -> Tensor:
    """(B, S) audio at 16 kHz -> features (B, T, C), interpolated linearly to (T,) times in seconds."""
    hidden = encoder(normalise_level(audio)).last_hidden_state  # (B, L, C)
    hop = math.prod(encoder.config.conv_stride)
    position = ((times_s * SAMPLE_RATE_HZ - receptive_field_samples(encoder.config) / 2) / hop).clamp(0, hidden.shape[1] - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=hidden.shape[1] - 1)
    return torch.lerp(hidden[:, low], hidden[:, high], (position - low).to(hidden)[None, :, None])
