"""Self-supervised pre-training of an encoder on audio alone: it tells what it does not hear, frame by frame.

Masked prediction of acoustic clusters, as HuBERT's first round (Hsu et al., 2021): the log energies of a mel filterbank are
clustered, spans of the waveform are silenced, and the encoder names the clusters of the frames within.
"""

from pathlib import Path

import numpy as np
import torch
from scipy.cluster.vq import kmeans2
from torch import Tensor, nn
from torch.nn import functional
from transformers import HubertModel

from facedistill.core.imports import import_closure
from facedistill.core.manifest import Utterance
from facedistill.core.params import Params
from facedistill.core.sections import AugmentParams
from facedistill.core.sound import SAMPLE_RATE_HZ
from facedistill.models.dataset import Corpus, batch
from facedistill.models.encoder import build_encoder, normalise_level, save_encoder
from facedistill.models.filterbank import HOP_SAMPLES, Filterbank
from facedistill.models.training import Run, forget, prepare_torch, work_folder, write_log
from facedistill.models.workers import device

N_CLUSTERS = 100
N_CLUSTERED = 256  # crops that the clusters are found on
SPAN_FRAMES = 12  # about 190 ms, two phones or three
MASKED_RATIO = 0.5


class MaskedPredictor(nn.Module):
    """An encoder in pre-training, and the layer that names clusters, which is not kept."""

    def __init__(self, encoder: HubertModel) -> None:
        super().__init__()
        self.encoder = encoder
        self.clusters = nn.Linear(encoder.config.hidden_size, N_CLUSTERS)

    def forward(self, audio: Tensor) -> Tensor:  # (B, S) -> (B, L, N_CLUSTERS) scores
        return self.clusters(self.encoder(audio).last_hidden_state)


class MaskedLoss:
    """Draws a batch, silences spans of it, and scores what the encoder takes them for."""

    def __init__(self, corpus: Corpus, crop_s: float, augment: AugmentParams, n_filters: int, seed: int) -> None:
        self.corpus, self.augment = corpus, augment
        self.n_samples = round(crop_s * SAMPLE_RATE_HZ)
        self.front = Filterbank(n_filters).eval().requires_grad_(False).to(device())
        heard = self.front(self._draw(N_CLUSTERED, np.random.default_rng([seed, N_CLUSTERS]))).transpose(1, 2).flatten(0, 1)
        centres, _ = kmeans2(heard.cpu().numpy(), N_CLUSTERS, minit="++", rng=np.random.default_rng(seed))
        self.centres = torch.from_numpy(centres).to(heard)

    def __call__(self, predictor: MaskedPredictor, n_crops: int, rng: np.random.Generator) -> dict[str, Tensor]:
        audio = self._draw(n_crops, rng)
        clusters = self.clusters_of(audio)
        masked = torch.from_numpy(spans(*clusters.shape, rng)).to(audio.device)
        scores = predictor(audio * audible(masked, audio.shape[1]))
        return {"total": functional.cross_entropy(scores[masked], clusters[masked])}

    def clusters_of(self, audio: Tensor) -> Tensor:
        """(B, S) audio -> (B, L) int64, the nearest cluster of every frame."""
        return torch.cdist(self.front(audio).transpose(1, 2), self.centres).argmin(dim=2)

    def _draw(self, n_crops: int, rng: np.random.Generator) -> Tensor:
        audio, _, _ = batch(
            self.corpus, size=n_crops, n_samples=self.n_samples, times_s=np.zeros(1), params=self.augment, rng=rng
        )
        return normalise_level(audio.to(device()))


def spans(n_crops: int, n_frames: int, rng: np.random.Generator) -> np.ndarray:
    """(B, L) bool: spans of `SPAN_FRAMES` frames that cover about `MASKED_RATIO` of all, at least one a crop."""
    masked = np.zeros((n_crops, n_frames), bool)
    n_spans = max(1, round(-np.log(1 - MASKED_RATIO) * n_frames / SPAN_FRAMES))  # they overlap
    for row in masked:
        for first in rng.integers(0, max(n_frames - SPAN_FRAMES + 1, 1), n_spans):
            row[first : first + SPAN_FRAMES] = True
    return masked


def audible(masked: Tensor, n_samples: int) -> Tensor:
    """(B, L) frames -> (B, S) bool, the samples that some frame hears which is not masked, and those behind the last frame."""
    known = functional.pad(~masked, (0, 1)) | functional.pad(~masked, (1, 0))  # hops: frame l hears hops l and l + 1
    samples = known.repeat_interleave(HOP_SAMPLES, dim=1)
    return functional.pad(samples, (0, n_samples - samples.shape[1]), value=True)


def pretrain(params: Params, root: Path, utterances: list[Utterance], *, steps: int, out: Path) -> None:
    """Pre-trains the encoder that `teach.encoder` describes and writes it to `out`, for `teach.encoder.source` to name.

    Args:
        root: folder that the utterances' paths are relative to; their labels take no part.
    """
    prepare_torch()
    optimizer = params.teach.optimizer
    torch.manual_seed(params.seed)
    predictor = MaskedPredictor(build_encoder(params.teach.encoder)).to(device())
    corpus = Corpus(root, utterances, with_curves=False)
    settings = f"{params.seed}{params.teach.model_dump_json()}{steps}{utterances}"
    run = Run(
        name=out.name, module=predictor, optimizer=optimizer, steps=steps, seed=params.seed,
        loss=MaskedLoss(corpus, optimizer.crop_s, params.teach.augment, params.teach.encoder.filters, params.seed),
        work=work_folder(
            f"pretrain-{out.name}", code=import_closure(__name__), settings=settings, inputs=[root / "manifest.jsonl"]
        ),
        audio_s_per_step=optimizer.batch_size * optimizer.crop_s,
    )  # fmt: skip
    log = run.fit()
    save_encoder(predictor.encoder, out)
    write_log(out / "losses.csv", log)
    forget(run.work)
