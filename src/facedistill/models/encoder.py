"""The teacher's speech encoder: a HuBERT from `transformers`, pretrained on a hub or local, or small and trained from scratch.

The small one keeps HuBERT's transformer and puts the learnable filterbank and the students' convolution blocks where HuBERT
has seven convolutions on the waveform: in minutes of CPU those do not get past the mel spectrogram that the filterbank starts as.
"""

import math
import os
import shutil
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import HubertConfig, HubertModel, PretrainedConfig

from facedistill.core.errors import InputError
from facedistill.core.paths import ROOT
from facedistill.core.sections import POSITION_GROUPS, EncoderParams
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.models.filterbank import KERNEL_SAMPLES, POOL, STRIDE_SAMPLES, Block, Filterbank
from facedistill.models.mfcc import MfccConfig, MfccEncoder

SCRATCH, MFCC = "scratch", "mfcc"
DILATIONS = (1, 2, 4, 8)
TARGET_RMS = 0.1  # loudness the encoder hears every utterance at
# Augmented audio is all the noise that training needs, and networks in training draw no random numbers (see `training`).
NO_DROPOUT = dict.fromkeys(
    ("layerdrop", "hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "mask_time_prob"), 0.0
)
SILENCE_RMS = 1e-3  # quieter utterances are not amplified beyond what this would be


class FilterbankHubert(HubertModel):
    """HuBERT behind a learnable filterbank; saved and loaded like any `transformers` model."""

    def __init__(self, config: HubertConfig) -> None:
        super().__init__(config)
        widths = [config.filterbank_filters] + [config.conv_dim[-1]] * len(DILATIONS)
        self.feature_extractor = nn.Sequential(
            Filterbank(config.filterbank_filters),
            *(Block(*pair, dilation, same=True) for pair, dilation in zip(pairwise(widths), DILATIONS, strict=True)),
        )


def _scratch_config(params: EncoderParams) -> HubertConfig:
    return HubertConfig(
        filterbank_filters=params.filters,
        hidden_size=params.width, num_hidden_layers=params.layers, num_attention_heads=params.heads,
        intermediate_size=params.feed_forward,
        conv_dim=(2 * params.filters, params.width), conv_kernel=(KERNEL_SAMPLES, POOL), conv_stride=(STRIDE_SAMPLES, POOL),
        num_conv_pos_embeddings=32, num_conv_pos_embedding_groups=POSITION_GROUPS,
        do_stable_layer_norm=True, **NO_DROPOUT,
    )  # fmt: skip


def build_encoder(params: EncoderParams) -> HubertModel | MfccEncoder:
    """Builds the encoder that the parameters name.

    Raises:
        InputError: the checkpoint is neither a hub model that can be had nor a folder with a HuBERT.
    """
    if params.source == SCRATCH:
        return FilterbankHubert(_scratch_config(params))
    if params.source == MFCC:
        return MfccEncoder(MfccConfig())
    local = ROOT / params.source
    source = str(local) if local.is_dir() else params.source
    try:
        config = HubertConfig.from_pretrained(source, **NO_DROPOUT)
        kind = FilterbankHubert if hasattr(config, "filterbank_filters") else HubertModel
        return kind.from_pretrained(source, config=config, use_safetensors=None if local.is_dir() else True).float()
    except Exception as error:  # transformers, safetensors and torch have their own, without a common base
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"teach.encoder.source: {params.source!r} cannot be loaded ({reason}); "
            f"allowed: {SCRATCH!r}, {MFCC!r}, a hub id, a local folder"
        ) from None


def encoder_from_config(config: dict) -> HubertModel | MfccEncoder:
    """An untrained encoder of a saved configuration, for loading a whole teacher's weights into it."""
    if config["model_type"] == MFCC:
        return MfccEncoder(MfccConfig.from_dict(config))
    kind = FilterbankHubert if "filterbank_filters" in config else HubertModel
    return kind(HubertConfig.from_dict(config))


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
    field = 1
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        field = (field - 1) * stride + kernel
    return field


def encode_at(encoder: HubertModel, audio: Tensor, times_s: Tensor) -> Tensor:
    """Encodes audio and interpolates the features linearly to the wanted times.

    Args:
        audio: (B, S) at 16 kHz.
        times_s: (T,) seconds.

    Returns:
        (B, T, C).
    """
    hidden = encoder(normalise_level(audio)).last_hidden_state  # (B, L, C)
    hop = math.prod(encoder.config.conv_stride)
    position = ((times_s * SAMPLE_RATE_HZ - receptive_field_samples(encoder.config) / 2) / hop).clamp(0, hidden.shape[1] - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=hidden.shape[1] - 1)
    return torch.lerp(hidden[:, low], hidden[:, high], (position - low).to(hidden)[None, :, None])
