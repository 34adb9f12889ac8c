"""The engine of Show, Attend and Tell: trains a model that writes captions; runs on the worker's loop.

Xu et al. 2015, arXiv:1502.03044. One update takes one minibatch of captions of equal length (`batches`) and lowers the loss
of soft attention, or follows the estimated gradient of hard attention's lower bound (`objectives`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engines.decay import remaining
from engines.engine import Engine, stream
from engines.errors import InputError
from engines.figures import Figure
from engines.method import Action
from engines.show_attend_tell import examples, pictures
from engines.show_attend_tell.attention import entropy
from engines.show_attend_tell.batches import Batches
from engines.show_attend_tell.beam import Beam, Caption, greedy, search
from engines.show_attend_tell.config import (
    METHOD,
    ClearEdits,
    DropImage,
    GiveBeam,
    GiveCaption,
    GiveVocabulary,
    GrabGaze,
    PickImage,
    ReplaceWord,
    ShowAttendTellSettings,
)
from engines.show_attend_tell.decoder import Decoder, Dropout, Sizes
from engines.show_attend_tell.eyes import Eye, FrozenEye, TrainedEye
from engines.show_attend_tell.metrics import bleu, meteor_exact
from engines.show_attend_tell.objectives import (
    Baseline,
    doubly_stochastic,
    doubly_stochastic_floor,
    hard_loss,
    soft_loss,
    word_log_likelihoods,
)
from engines.show_attend_tell.vocabulary import END, Vocabulary

AUTHORS_DEVIATION = 0.01
"""Of the initial weights in the authors' code."""

VARIANCE_DRAWS, VARIANCE_CAPTIONS = 8, 16
"""Draws of the locations, and validation captions, for the variance of REINFORCE's gradient."""

KINDS = ("object", "colour", "size", "number", "relation")
"""Kinds of words of the drawn scenes, see `engines.data.captions.WordMasks`."""


class ShowAttendTellEngine(Engine):
    """Trains encoder and decoder, or the decoder alone where the encoder is frozen.

    Scalars of a step
    -----------------
    nll_train
        Negative log-likelihood of the minibatch, nats per caption; given the locations where they are drawn.
    doubly_stochastic, doubly_stochastic_floor
        The term on the minibatch, and the least it could be for its number of words.
    learning_rate, epochs
        ``epochs`` are passes over the training captions.
    reward, baseline
        Minibatches of hard attention with drawn locations alone; nats, the baseline after the update.
    bleu_1 .. bleu_4, bleu_1_penalised .. bleu_4_penalised, meteor
        Every ``evaluate_every`` updates, in percent: greedy captions of validation images with the expected context.
    nll_valid, nll_held_out
        Of one caption of each of these images, and of scenes with unseen combinations; nats per caption, expected context.
    attention_entropy, largest_entropy, gate
        Means over the words of the greedy captions, nats; log L.
    mass_object .. mass_relation, mass_chance
        Drawn scenes: share of the attention on cells that what the word names touches, while the image's own caption is
        written; ``mass_chance`` is the share of even attention.
    variance, variance_without
        Hard attention: see `gradient_variance`.
    """

    method = METHOD
    config: ShowAttendTellSettings

    def __init__(self, config: ShowAttendTellSettings, device: torch.device) -> None:
        super().__init__(config, device)
        self.data = examples.load(config)
        self.vocabulary = Vocabulary(self.data.vocabulary(max(0, config.vocabulary - 2)))
        self.examples = examples.Examples(self.data, self.vocabulary, config.longest)
        self._build_model()
        self._batches = Batches(self.examples.lengths, config.seed)
        self._noise = stream(config.seed, "noise", device)
        self._dropped = stream(config.seed, "dropout", device)
        self._baseline = Baseline()
        self._step = 0
        self._measured: dict[tuple[str, int], examples.Measured] = {}
        self._shown = examples.shown_order(self.data)
        self.hand = pictures.Hand()

    # --- the model  ----------

    def _build_model(self) -> None:
        config = self.config
        generator = stream(config.seed, "initialisation")
        self.eye: Eye
        if config.encoder == "convolution":
            self.eye = TrainedEye(self.data, generator, self.device)
        else:
            self.eye = FrozenEye(self.data, examples.weights_file(config), self.device)
        sizes = Sizes(
            self.eye.dimension, len(self.vocabulary), config.embedding, config.state, config.attention_units
        )
        self.decoder = Decoder(
            sizes,
            attention_layers=config.attention_layers,
            init_layers=config.init_layers,
            gate=config.gate,
            previous_to_output=config.previous_to_output,
            context_to_output=config.context_to_output,
            deviation=None if config.initial == "scaled" else AUTHORS_DEVIATION,
            generator=generator,
        ).to(self.device)
        self._parameters = [*self.eye.parameters(), *self.decoder.parameters()]
        kind = torch.optim.Adam if config.optimiser == "adam" else torch.optim.RMSprop
        options: dict[str, Any] = {"fused": True} if config.optimiser == "adam" else {"foreach": True}
        self._optimizer: torch.optim.Optimizer = kind(self._parameters, lr=config.learning_rate, **options)

    @property
    def locations(self) -> int:
        """L."""
        return self.eye.grid[0] * self.eye.grid[1]

    @property
    def updates(self) -> int:
        """Updates done."""
        return self._step

    # --- training  ----------

    def step(self) -> Mapping[str, float]:
        """One update on one minibatch."""
        config = self.config
        learning_rate = config.learning_rate * remaining(config.decay, self._step, config.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        chosen = self._batches.next(config.batch)
        words = self.examples.words(chosen).to(self.device)
        loss, scalars = self._loss(self._annotations(self.examples.images[chosen]), words)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._step += 1
        scalars |= {"learning_rate": learning_rate, "epochs": self._batches.epochs}
        if self._step % config.evaluate_every == 0 or self._step == 1:
            scalars |= self._evaluate()
        return scalars

    def _annotations(self, images: np.ndarray) -> Tensor:
        """Annotations (B, L, D) of the image of each caption; an image of several captions is encoded once."""
        unique, places = np.unique(images, return_inverse=True)
        if len(unique) == len(images):
            return self.eye.of(images)
        return self.eye.of(unique)[torch.from_numpy(places).to(self.device)]

    def _loss(self, annotations: Tensor, words: Tensor) -> tuple[Tensor, dict[str, float]]:
        config = self.config
        dropout = Dropout(config.dropout, self._dropped) if config.dropout else None
        noise = None
        if config.attention == "hard":
            sampled = float(torch.rand((), generator=self._noise, device=self.device)) >= config.semi_sampling
            if sampled:
                noise = torch.rand(words.shape, generator=self._noise, device=self.device)
        unrolled, logits = self.decoder.unroll(
            annotations,
            words,
            temperature=config.temperature,
            noise=noise,
            cut=config.attention == "hard" and config.soft_half == "entropy",
            dropout=dropout,
        )
        logs = word_log_likelihoods(logits, words)
        scalars: dict[str, float] = {}
        if config.attention == "soft":
            loss = soft_loss(logs, unrolled.alphas, config.lambda_)
        else:
            # The baseline is that of the updates before this one.
            terms = hard_loss(
                logs,
                unrolled.alphas,
                unrolled.locations,
                baseline=self._baseline.value,
                reinforce=config.lambda_r,
                entropy_weight=config.lambda_e,
                reward=config.reward,
            )
            loss = terms.loss
            if noise is not None:
                self._baseline.update(terms.reward)
                assert self._baseline.value is not None
                scalars |= {"reward": terms.reward, "baseline": self._baseline.value}
        with torch.no_grad():
            scalars |= {
                "nll_train": -float(logs.sum(0).mean()),
                "doubly_stochastic": float(doubly_stochastic(unrolled.alphas).mean()),
                "doubly_stochastic_floor": doubly_stochastic_floor(self.locations, len(words)),
            }
        return loss, scalars

    # --- measures  ----------

    def _captions(self, split: str, count: int) -> examples.Measured:
        """The first so many images of a split with their captions, prepared once."""
        images = self.data.splits[split][:count]
        key = split, len(images)
        if key not in self._measured:
            # A live setting that is dragged must not leave one set behind for each of its values.
            self._measured = {known: value for known, value in self._measured.items() if known[0] != split}
            self._measured[key] = examples.measured(self.data, self.vocabulary, images, self.eye.grid)
        return self._measured[key]

    @torch.no_grad()
    def _likelihood(self, captions: examples.Measured, annotations: Tensor) -> tuple[float, Tensor]:
        """Nats per caption with the expected context, and the weights (C, B, L)."""
        words, mask = captions.words.to(self.device), captions.mask.to(self.device)
        unrolled, logits = self.decoder.unroll(annotations, words, temperature=self.config.temperature)
        return -float(word_log_likelihoods(logits, words, mask).sum(0).mean()), unrolled.alphas

    def _evaluate(self) -> dict[str, float]:
        config = self.config
        captions = self._captions("valid", config.evaluation_images)
        annotations = self.eye.of_many(captions.images)
        words, alphas, gates = greedy(
            self.decoder, annotations, longest=config.longest, temperature=config.temperature
        )
        written = [self.vocabulary.decode(row) for row in words.t().tolist()]
        scalars = scores(written, captions.references)
        # The word that ends a caption is looked for, too; what follows it is padding.
        ended = (words == END).cumsum(0) - (words == END).long() > 0
        present = (~ended).float()
        total = float(present.sum())
        scalars["attention_entropy"] = float((entropy(alphas) * present).sum()) / total
        scalars["largest_entropy"] = math.log(self.locations)
        scalars["gate"] = float((gates * present).sum()) / total
        scalars["nll_valid"], forced = self._likelihood(captions, annotations)
        if "held_out" in self.data.splits:
            unseen = self._captions("held_out", config.evaluation_images)
            scalars["nll_held_out"], _ = self._likelihood(unseen, self.eye.of_many(unseen.images))
        scalars |= {f"mass_{kind}": share for kind, (share, _) in masses(captions, forced).items()}
        if captions.kinds:
            scalars["mass_chance"] = float(np.mean([cells.mean() for _, _, _, cells in captions.kinds]))
        if config.attention == "hard":
            scalars |= self.gradient_variance()
        return scalars

    def gradient_variance(self) -> dict[str, float]:
        """Total variance of REINFORCE's gradient over draws of the locations.

        Of the gradient for u and W_a, which nothing else reaches, on a few validation captions with the same noise each time.
        ``variance`` is with the present baseline, ``variance_without`` with none.
        """
        config = self.config
        captions = self._captions("valid", config.evaluation_images)
        count = min(VARIANCE_CAPTIONS, len(captions.images))
        annotations = self.eye.of_many(captions.images[:count])
        words, mask = captions.words[:, :count].to(self.device), captions.mask[:, :count].to(self.device)
        generator = stream(config.seed, "variance", self.device)
        looked = [self.decoder.attention.readout, self.decoder.attention.weight]
        with_baseline: list[Tensor] = []
        without: list[Tensor] = []
        for _ in range(VARIANCE_DRAWS):
            noise = torch.rand(words.shape, generator=generator, device=self.device)
            unrolled, logits = self.decoder.unroll(
                annotations, words, temperature=config.temperature, noise=noise
            )
            logs = word_log_likelihoods(logits, words, mask).detach()
            for baseline, kept in ((self._baseline.value or 0.0, with_baseline), (0.0, without)):
                terms = hard_loss(
                    logs,
                    unrolled.alphas,
                    unrolled.locations,
                    baseline=baseline,
                    reinforce=1.0,
                    entropy_weight=0.0,
                    reward=config.reward,
                    mask=mask,
                )
                gradient = torch.autograd.grad(terms.loss, looked, retain_graph=True)
                kept.append(torch.cat([part.flatten() for part in gradient]))
        return {
            "variance": float(torch.stack(with_baseline).var(0).sum()),
            "variance_without": float(torch.stack(without).var(0).sum()),
        }

    def summary(self) -> dict[str, Any]:
        """BLEU, METEOR and likelihood on all validation images, captioned with the beam; of scenes on unseen ones, too."""
        result: dict[str, Any] = {
            "beam": self.config.beam,
            "updates": self._step,
            "epochs": self._batches.epochs,
        }
        for split, ending in (("valid", ""), ("held_out", "_held_out")):
            if split not in self.data.splits:
                continue
            images = self.data.splits[split]
            captions = examples.measured(self.data, self.vocabulary, images, self.eye.grid)
            annotations = self.eye.of_many(images)
            written = [
                self.vocabulary.decode(self.beam(annotations[row]).captions[0].words)
                for row in range(len(images))
            ]
            likelihood, forced = self._likelihood(captions, annotations)
            result |= {
                f"{name}{ending}": value for name, value in scores(written, captions.references).items()
            }
            result[f"nll_{split}"] = likelihood
            right = [caption in known for caption, known in zip(written, captions.references, strict=True)]
            result[f"exact{ending}"] = 100.0 * float(np.mean(right))
            result |= {f"mass_{kind}{ending}": share for kind, (share, _) in masses(captions, forced).items()}
        return result

    def mass_shares(self) -> dict[str, tuple[float, float]]:
        """See `masses`; of the validation captions that are measured, empty where it is not known what words name."""
        captions = self._captions("valid", self.config.evaluation_images)
        if not captions.kinds:
            return {}
        return masses(captions, self._likelihood(captions, self.eye.of_many(captions.images))[1])

    # --- captions  ----------

    def beam(
        self, annotations: Tensor, *, words: Sequence[int] = (), looks: Mapping[int, np.ndarray] | None = None
    ) -> Beam:
        """Captions of one image from its annotations (L, D), with the display's beam; see `beam.search`."""
        config = self.config
        forced = {
            place: torch.from_numpy(np.asarray(weights, dtype=np.float32)).to(self.device)
            for place, weights in (looks or {}).items()
        }
        return search(
            self.decoder,
            annotations,
            width=config.beam,
            longest=config.longest,
            temperature=config.temperature,
            normalise=config.normalise,
            words=words,
            looks=forced,
        )

    def shown_image(self) -> np.ndarray:
        """The image that is captioned, (H, W, 3) uint8: the own one, or the chosen validation image."""
        if self.hand.own is not None:
            return self.hand.own
        return self.data.image(self.shown_index())

    def shown_index(self) -> int:
        """Index in the data set of the chosen validation image."""
        return int(self._shown[self.hand.image % len(self._shown)])

    def shown_annotations(self) -> Tensor:
        """Annotations (L, D) of the image that is captioned."""
        if self.hand.own is not None:
            return self.eye.look(self.hand.own)
        return self.eye.of_many(np.array([self.shown_index()]))[0]

    def edited(self, annotations: Tensor) -> Caption | None:
        """The caption with the hand's edits; None where there are none."""
        hand = self.hand
        if not hand.is_edited:
            return None
        return self.beam(annotations, words=hand.words, looks=hand.looks).captions[0]

    # --- the hand and the pictures  ----------

    def act(self, action: Action) -> Mapping[str, Any] | None:
        match action:
            case PickImage():
                self.hand = pictures.Hand(image=action.index % len(self.data.splits["valid"]))
            case DropImage():
                own = None if action.image is None else pictures.fitted(action.image, self.eye.size)
                self.hand = pictures.Hand(image=self.hand.image, own=own)
            case GrabGaze():
                self._grab(action)
            case ReplaceWord():
                self._replace(action)
            case ClearEdits():
                self.hand.clear()
            case GiveCaption():
                pass
            case GiveBeam():
                return self._give_beam()
            case GiveVocabulary():
                return {"words": self.vocabulary.words, "images": len(self.data.splits["valid"])}
            case _:
                return super().act(action)
        return self._give_caption()

    def _present(self, place: int) -> tuple[int, ...]:
        """The words of the caption as it stands, which an edit at that place begins from."""
        annotations = self.shown_annotations()
        caption = self.edited(annotations) or self.beam(annotations).captions[0]
        if not 0 <= place < len(caption.words):
            raise InputError(
                f"The caption has no word {place}: choose one from 0 to {len(caption.words) - 1}, counted from 0."
            )
        return caption.words

    def _grab(self, action: GrabGaze) -> None:
        rows, columns = self.eye.grid
        if action.cell is not None:
            row, column = action.cell
            if not (0 <= row < rows and 0 <= column < columns):
                raise InputError(
                    f"There is no cell ({row}, {column}): the attention has {rows} rows and {columns} columns, counted from "
                    "0."
                )
            weights = np.zeros((rows, columns))
            weights[row, column] = 1.0
        else:
            weights = np.asarray(() if action.weights is None else action.weights, dtype=np.float64)
            if weights.shape != (rows, columns):
                raise InputError(
                    f"The attention that was drawn has shape {weights.shape}, the locations have {(rows, columns)}: draw it "
                    "on the image."
                )
            if not np.isfinite(weights).all() or weights.min() < 0 or not weights.sum() > 0:
                raise InputError(
                    "The attention that was drawn has no weight, or one that is negative or not finite: paint at least one "
                    "cell."
                )
        words = self._present(action.word)
        self.hand.look(action.word, words, (weights / weights.sum()).ravel())

    def _replace(self, action: ReplaceWord) -> None:
        if action.text not in self.vocabulary:
            raise InputError(
                f"The model does not know the word {action.text[:40]!r}: choose one of the {len(self.vocabulary)} of its "
                "vocabulary."
            )
        words = self._present(action.word)
        self.hand.replace(action.word, words, self.vocabulary.index(action.text))

    def _plain(self, caption: Caption) -> dict[str, Any]:
        return {
            "words": tuple(self.vocabulary.words[word] for word in caption.words),
            "weights": caption.alphas.reshape(-1, *self.eye.grid).copy(),
            "gates": caption.gates.copy(),
            "log_likelihood": caption.log_likelihood,
        }

    def _give_caption(self) -> dict[str, Any]:
        annotations = self.shown_annotations()
        old, new = self.beam(annotations).captions[0], self.edited(annotations)
        return {
            "image": self.hand.image,
            "own": self.hand.own is not None,
            "pixels": self.shown_image().copy(),
            "grid": self.eye.grid,
            "old": self._plain(old),
            "new": self._plain(new or old),
            "edited": new is not None,
            "kept": len(self.hand.words),
            "looks": tuple(sorted(self.hand.looks)),
            "edits": tuple(
                {
                    "place": place,
                    "word": "" if word is None else self.vocabulary.words[word],
                    "weights": None if weights is None else weights.reshape(self.eye.grid).copy(),
                }
                for place, word, weights in self.hand.edits()
            ),
        }

    def _give_beam(self) -> dict[str, Any]:
        found = self.beam(self.shown_annotations(), words=self.hand.words, looks=self.hand.looks)
        return {
            "captions": tuple(
                self._plain(caption) | {"score": caption.score, "nodes": caption.nodes}
                for caption in found.captions
            ),
            "nodes": tuple(
                {
                    "parent": node.parent,
                    "step": node.step,
                    "word": self.vocabulary.words[node.word],
                    "log_likelihood": node.log_likelihood,
                    "weights": node.alphas.reshape(self.eye.grid).copy(),
                }
                for node in found.nodes
            ),
        }

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    # --- rewind  ----------

    def data_description(self) -> Mapping[str, str]:
        data = self.data
        return {
            "name": data.name,
            "title": data.title,
            "kind": "captions",
            "shape": "x".join(map(str, data.images.shape[1:])),
            "digest": data.digest,
            "licence": data.licence,
            "source": data.source,
            "notes": " ".join(data.notes),
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self._step,
            "encoder": self.eye.state_dict(),
            "decoder": self.decoder.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "batches": self._batches.state_dict(),
            "noise": self._noise.get_state(),
            "dropout": self._dropped.get_state(),
            "baseline": self._baseline.value,
            "hand": self.hand.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = state["step"]
        self.eye.load_state_dict(state["encoder"])
        self.decoder.load_state_dict(state["decoder"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._batches.load_state_dict(state["batches"])
        self._noise.set_state(state["noise"])
        self._dropped.set_state(state["dropout"])
        self._baseline.value = state["baseline"]
        self.hand.load_state_dict(state["hand"])


def scores(
    written: Sequence[tuple[str, ...]], references: Sequence[tuple[tuple[str, ...], ...]]
) -> dict[str, float]:
    """BLEU without and with brevity penalty, and exact-match METEOR, in percent."""
    plain, penalised = bleu(written, references, brevity=False), bleu(written, references, brevity=True)
    result = {f"bleu_{n}": 100.0 * value for n, value in enumerate(plain, 1)}
    result |= {f"bleu_{n}_penalised": 100.0 * value for n, value in enumerate(penalised, 1)}
    return result | {"meteor": 100.0 * meteor_exact(written, references)}


def masses(captions: examples.Measured, alphas: Tensor) -> dict[str, tuple[float, float]]:
    """By kind of word, the mean share of attention (C, B, L) on what it names, and the share of even attention."""
    shares: dict[str, list[tuple[float, float]]] = {}
    weights = alphas.cpu().numpy()
    for kind, place, row, cells in captions.kinds:
        shares.setdefault(kind, []).append((float(weights[place, row, cells].sum()), float(cells.mean())))
    means = {kind: np.mean(pairs, axis=0) for kind, pairs in shares.items()}
    return {kind: (float(means[kind][0]), float(means[kind][1])) for kind in KINDS if kind in means}
