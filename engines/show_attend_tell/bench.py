"""How fast training is, beside a plain PyTorch version of the same model; the main thread of ``lab bench engines``.

The plain version is written as tutorials write it: an `nn.LSTMCell` in a loop over the words, in which the attention network
and the deep output run word by word, linear layers throughout, automatic differentiation of all of it, and an image encoded
for every caption. Weights, minibatches, loss and optimiser are ours, so both do the same work, and from the same weights they
have the same loss.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.bench import captured_beside_eager, ratios, threads_of_the_lab, told, updates_in_turns
from engines.config import Preset, find_preset
from engines.show_attend_tell import encoders
from engines.show_attend_tell.batches import Batches
from engines.show_attend_tell.config import METHOD, ShowAttendTellSettings
from engines.show_attend_tell.decoder import Decoder
from engines.show_attend_tell.engine import ShowAttendTellEngine
from engines.show_attend_tell.eyes import TrainedEye
from engines.show_attend_tell.objectives import soft_loss, word_log_likelihoods

PRESETS = ("scenes",)
"""Measured when none is chosen."""

SAME_WORK = {
    "attention": "soft",
    "dropout": 0.0,
    "attention_layers": 1,
    "init_layers": 1,
    "temperature": 1.0,
    "evaluate_every": 100_000,
    "steps": 10_000_000,
}
"""What both versions do whatever the preset says; public ones have soft attention alone."""

COMPARED = (
    "data",
    "encoder",
    "embedding",
    "state",
    "attention_units",
    "batch",
    "lambda_",
    "optimiser",
    "gate",
)


def bench(preset: Preset | None, seconds: float, rounds: int, peer: str) -> dict[str, Any]:
    """Updates per second, ours and the plain version's.

    Parameters
    ----------
    preset : Preset or None
        Its data and sizes; None for `PRESETS`.
    seconds : float
        Of each part of each round, at least.
    rounds : int
        The two versions take turns.
    peer : {"auto", "yes", "no"}
        Whether the plain version is measured; it is always there, so "auto" measures it.

    Returns
    -------
    dict
        Plain data. On an NVIDIA GPU the update is measured as one captured graph beside the eager one, too.
    """
    presets = [preset] if preset is not None else [find_preset(METHOD.presets, name) for name in PRESETS]
    with threads_of_the_lab() as threads:
        measured = {p.id: _bench_one(p, seconds, rounds, peer != "no") for p in presets}
    result: dict[str, Any] = {
        "seconds": seconds,
        "rounds": rounds,
        "trained_on": "cpu",
        "torch_threads": threads,
        "versions": {name: version(name) for name in ("torch", "numpy")},
        "presets": measured,
    }
    if peer == "no":
        result["note"] = "The plain version was left out, as --peer no asks."
    return result


def _bench_one(preset: Preset, seconds: float, rounds: int, with_peer: bool) -> dict[str, Any]:
    settings = ShowAttendTellSettings.build({**preset.values, **SAME_WORK})
    engine = ShowAttendTellEngine(settings, torch.device("cpu"))
    # The first update measures the model, too, and is not of the kind that is counted.
    engine.step()
    parts: dict[str, Callable[[], object]] = {"ours": engine.step}
    if with_peer:
        parts["plain"] = PlainTraining(engine).step
    rates = updates_in_turns(parts, seconds, rounds)
    result: dict[str, Any] = {
        "locations": engine.locations,
        "words": len(engine.vocabulary),
        "captions": len(engine.examples),
        "settings": {name: getattr(settings, name) for name in COMPARED},
        **told(rates),
    }
    if with_peer:
        result |= ratios("ratio_to_plain", rates["ours"], rates["plain"])
    result["cuda"] = captured_beside_eager(lambda device: capturable(settings, device), seconds, rounds)
    return result


def capturable(settings: ShowAttendTellSettings, device: torch.device) -> Callable[[], Tensor]:
    """An update of ours that fetches no number from the device, on the same minibatch each time.

    Parameters
    ----------
    settings : ShowAttendTellSettings
        With `SAME_WORK`.
    device : torch.device

    Returns
    -------
    callable
        Gives the loss, nats per caption and the doubly stochastic term, as a tensor.
    """
    engine = ShowAttendTellEngine(settings, device)
    examples, eye, decoder = engine.examples, engine.eye, engine.decoder
    chosen = Batches(examples.lengths, settings.seed).next(settings.batch)
    words, indices = examples.words(chosen).to(device), examples.images[chosen]
    parameters = [*eye.parameters(), *decoder.parameters()]
    kind = torch.optim.Adam if settings.optimiser == "adam" else torch.optim.RMSprop
    optimizer: torch.optim.Optimizer = kind(
        parameters, lr=settings.learning_rate, capturable=device.type == "cuda"
    )
    # Images come from the host, once: what is done with them afterwards can be repeated there.
    seen = eye.batch(indices) if isinstance(eye, TrainedEye) else eye.of(indices)

    def update() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        annotations = eye.network(seen) if isinstance(eye, TrainedEye) else seen
        unrolled, logits = decoder.unroll(annotations, words, temperature=settings.temperature)
        loss = soft_loss(word_log_likelihoods(logits, words), unrolled.alphas, settings.lambda_)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return update


class PlainTraining:
    """Training of the plain version with an engine's data and settings, from its present weights."""

    def __init__(self, engine: ShowAttendTellEngine) -> None:
        self._engine = engine
        config = engine.config
        self.decoder = PlainDecoder(engine.decoder)
        self.encoder: encoders.SmallConvolution | None = None
        parameters = list(self.decoder.parameters())
        if isinstance(engine.eye, TrainedEye):
            self.encoder = encoders.SmallConvolution(size=engine.eye.size[0])
            self.encoder.load_state_dict(engine.eye.state_dict())
            parameters += self.encoder.parameters()
        kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.RMSprop
        self._optimizer: torch.optim.Optimizer = kind(parameters, lr=config.learning_rate)
        self._batches = Batches(engine.examples.lengths, config.seed)

    def annotations(self, images: np.ndarray) -> Tensor:
        """Annotations (B, L, D), each image encoded for itself."""
        if self.encoder is None:
            return self._engine.eye.of(images)
        pixels = np.stack([self._engine.data.image(index) for index in images.tolist()])
        batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous().float() / 255.0
        return self.encoder(batch)

    def step(self) -> float:
        """One update; its loss."""
        config, examples = self._engine.config, self._engine.examples
        chosen = self._batches.next(config.batch)
        words = examples.words(chosen).t()
        loss = self.decoder.loss(self.annotations(examples.images[chosen]), words, config.lambda_)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return loss.item()


class PlainDecoder(nn.Module):
    """The decoder as tutorials write it, with the weights of ours.

    Parameters
    ----------
    ours : Decoder
        With one layer in the attention network and in that of the first state.
    """

    def __init__(self, ours: Decoder) -> None:
        super().__init__()
        sizes = ours.sizes
        dimension, m, n, units = sizes.annotation, sizes.embedding, sizes.state, sizes.attention
        self.gated = ours.gate
        self.sees_previous, self.sees_context = ours.previous_to_output, ours.context_to_output
        self.embedding = nn.Embedding(sizes.words, m)
        self.encoder_attention = nn.Linear(dimension, units)
        self.decoder_attention = nn.Linear(n, units, bias=False)
        self.full_attention = nn.Linear(units, 1, bias=False)
        self.beta = nn.Linear(n, 1)
        self.cell = nn.LSTMCell(m + dimension, n)
        self.init_h, self.init_c = nn.Linear(dimension, n), nn.Linear(dimension, n)
        self.state_to_output = nn.Linear(n, m)
        self.annotation_to_output = nn.Linear(dimension, m, bias=False)
        self.output = nn.Linear(m, sizes.words)
        with torch.no_grad():
            self._copy(ours)

    def _copy(self, ours: Decoder) -> None:
        n, units = ours.sizes.state, ours.sizes.attention

        def gates(weights: Tensor) -> Tensor:
            """From our order (candidate, input, forget, output) to that of `nn.LSTMCell`, outputs first."""
            g, i, f, o = weights.split(n, dim=-1)
            return torch.cat([i, f, g, o], dim=-1).t()

        self.embedding.weight.copy_(ours.embedding)
        self.encoder_attention.weight.copy_(ours.attention.weight.t())
        self.encoder_attention.bias.copy_(ours.attention.bias)
        self.decoder_attention.weight.copy_(ours.from_state[:, 4 * n : 4 * n + units].t())
        self.full_attention.weight.copy_(ours.attention.readout[None])
        self.beta.weight.copy_(ours.from_state[:, -1:].t())
        self.beta.bias.copy_(ours.gate_bias)
        self.cell.weight_ih.copy_(torch.cat([gates(ours.from_word), gates(ours.from_context)], dim=1))
        self.cell.weight_hh.copy_(gates(ours.from_state[:, : 4 * n]))
        self.cell.bias_ih.copy_(gates(ours.bias[None])[:, 0])
        self.cell.bias_hh.zero_()
        self.init_c.weight.copy_(ours.init_state[:, :n].t())
        self.init_h.weight.copy_(ours.init_state[:, n:].t())
        self.init_c.bias.copy_(ours.init_state_bias[:n])
        self.init_h.bias.copy_(ours.init_state_bias[n:])
        self.state_to_output.weight.copy_(ours.state_to_output.t())
        self.state_to_output.bias.copy_(ours.output_bias)
        self.annotation_to_output.weight.copy_(ours.annotation_to_output.t())
        self.output.weight.copy_(ours.output.t())
        self.output.bias.copy_(ours.word_bias)

    def loss(self, annotations: Tensor, words: Tensor, strength: float) -> Tensor:
        """The loss of soft attention, of annotations (B, L, D) and captions (B, C)."""
        mean = annotations.mean(dim=1)
        h, c = torch.tanh(self.init_h(mean)), torch.tanh(self.init_c(mean))
        embedded = self.embedding(words)
        scores, alphas = [], []
        for t in range(words.shape[1]):
            previous = embedded[:, t - 1] if t else torch.zeros_like(embedded[:, 0])
            seen = self.encoder_attention(annotations)
            asked = self.decoder_attention(h)
            energy = self.full_attention(torch.tanh(seen + asked.unsqueeze(1))).squeeze(2)
            alpha = torch.softmax(energy, dim=1)
            context = (annotations * alpha.unsqueeze(2)).sum(dim=1)
            if self.gated:
                context = torch.sigmoid(self.beta(h)) * context
            h, c = self.cell(torch.cat([previous, context], dim=1), (h, c))
            hidden = self.state_to_output(h)
            if self.sees_previous:
                hidden = hidden + previous
            if self.sees_context:
                hidden = hidden + self.annotation_to_output(context)
            scores.append(self.output(torch.tanh(hidden)))
            alphas.append(alpha)
        logits, attention = torch.stack(scores, dim=1), torch.stack(alphas, dim=1)
        likelihood = nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten(), reduction="sum")
        coverage = ((1.0 - attention.sum(dim=1)) ** 2).sum(dim=1).mean()
        return likelihood / len(words) + strength * coverage
