"""The DRAW engine: trains the network, its twin or the classifier, and answers for the pictures; runs on the worker's loop.

Gregor et al. 2015, arXiv:1502.04623. One update lowers L = L^x + L^z on one batch (equation 12), or the cross-entropy of the
classifier's last answer (section 4.1).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engines.draw import bound, drawings, pictures
from engines.draw.classifier import Classifier
from engines.draw.config import (
    METHOD,
    MOST_ENDINGS,
    DrawSettings,
    FanOut,
    GiveHand,
    HoldBrush,
    LetGo,
    OwnImage,
    PickImage,
    Probe,
)
from engines.draw.hand import Hand
from engines.draw.learner import Learner, descend, make_optimizer, shape_of
from engines.draw.material import load
from engines.draw.model import Draw
from engines.engine import Engine, stream
from engines.errors import InputError
from engines.figures import Figure
from engines.method import Action

EVALUATION_PASSES = 16_000_000
"""Pictures times steps times (pixels + 8 LSTM units) that a measurement while training takes at most: about a second."""

FEWEST, MOST = 32, 1000
"""Held-out pictures of a measurement while training."""

SUMMARY_PASSES = 300_000_000
"""The same for each bound of the summary: some twenty seconds on one core, all 10,000 pictures of MNIST with small networks.
The importance-weighted bound draws each of its pictures K times, and takes so many fewer."""

NEAR_ZERO = 1e-3


class DrawEngine(Engine):
    """Trains DRAW on the CPU or on a GPU.

    Scalars of a step, drawing
    --------------------------
    loss_nats, reconstruction_nats, kl_nats
        L, L^x and L^z of the batch before the update, nats per picture.
    gradient_norm, step_size
    twin_loss_nats
        L of the twin on the same batch, where there is one.
    bound_nats, importance_nats, twin_bound_nats
        Every `DrawSettings.evaluate_every` updates, on held-out pictures: L, the importance-weighted bound of K drawings,
        and L of the twin; with a twin also ``attention_nats`` and ``whole_nats``, which are the two L by name of the network.

    Scalars of a step, classifying
    ------------------------------
    loss_nats, train_error_percent, gradient_norm, step_size
        Cross-entropy and share of wrong answers on the batch before the update.
    error_percent, entropy_nats
        The same on held-out pictures, every `DrawSettings.evaluate_every` updates.
    """

    method = METHOD
    config: DrawSettings

    def __init__(self, config: DrawSettings, device: torch.device) -> None:
        super().__init__(config, device)
        self.data = load(config, device)
        self._order = stream(config.seed, "order")
        self._ink = stream(config.seed, "ink", device)
        self._noise = stream(config.seed, "noise", device)
        self._twin_noise = stream(config.seed, "twin noise", device)
        self._step = 0
        self.hand = Hand()
        self.learner: Learner | None = None
        self.twin: Learner | None = None
        self.classifier: Classifier | None = None
        if config.task == "classify":
            self._build_classifier()
        else:
            self.learner = self._build(config.attention, "initialisation")
            if config.twin:
                self.twin = self._build(not config.attention, "twin initialisation")
        self._measured: bound.Bound | None = None
        self._measured_step = -1

    def _build(self, attention: bool, name: str) -> Learner:
        shape = shape_of(self.config, self.data.picture, attention=attention)
        model = Draw(shape, stream(self.config.seed, name))
        model.begin_with(self._mean_picture(), self.config.first_window)
        return Learner(model.to(self.device), self.config)

    def _mean_picture(self) -> Tensor:
        """What a canvas that tells nothing should show, (pixels,)."""
        generator = stream(self.config.seed, "mean picture", self.device)
        return self.data.prepared(self.data.train[:4096], generator).mean(0).cpu()

    def _build_classifier(self) -> None:
        config, dataset = self.config, self.data.dataset
        assert self.data.train_labels is not None and self.data.test_labels is not None
        highest = int(max(self.data.train_labels.max(), self.data.test_labels.max())) + 1
        self.classifier = Classifier(
            self.data.picture,
            config.glimpses,
            config.read_n,
            config.hidden,
            max(highest, len(dataset.class_names)),
            stream(config.seed, "initialisation"),
        ).to(self.device)
        self._parameters = list(self.classifier.parameters())
        self._optimizer = make_optimizer(self._parameters, config)

    @property
    def model(self) -> Draw:
        """The network that draws.

        Raises
        ------
        InputError
            The run classifies.
        """
        if self.learner is None:
            raise InputError("This run classifies and draws nothing: choose task=generate for drawings.")
        return self.learner.model

    # --- training  ----------

    def step(self) -> Mapping[str, float]:
        """One update of Adam on one batch; of the twin on the same batch, where there is one."""
        config = self.config
        x, labels = self.data.batch(config.batch, self._step, self._order, self._ink)
        if self.classifier is not None:
            assert labels is not None
            scalars = self._step_of_classifier(x, labels)
        else:
            assert self.learner is not None
            done = self.learner.update(x, self._noise)
            scalars = {
                "loss_nats": done["loss"],
                "reconstruction_nats": done["nll"],
                "kl_nats": done["kl"],
                "gradient_norm": done["gradient_norm"],
                "step_size": config.step_size,
            }
            if self.twin is not None:
                scalars["twin_loss_nats"] = self.twin.update(x, self._twin_noise)["loss"]
        self._step += 1
        if self._step % config.evaluate_every == 0 or self._step == 1:
            scalars |= self._evaluate()
        return scalars

    def _step_of_classifier(self, x: Tensor, labels: Tensor) -> dict[str, float]:
        assert self.classifier is not None
        logits = self.classifier(self.data.pictures(x))
        wrong = (logits.argmax(1) != labels).float().mean()
        done = descend(
            functional.cross_entropy(logits, labels), self._optimizer, self._parameters, self.config
        )
        return {
            "loss_nats": done["loss"],
            "train_error_percent": 100.0 * float(wrong),
            "gradient_norm": done["gradient_norm"],
            "step_size": self.config.step_size,
        }

    # --- measuring  ----------

    def held_out(self, count: int) -> Tensor:
        """The first so many held-out pictures, (count, pixels), binarised in the same way each time."""
        return self.data.prepared(
            self.data.test[:count], stream(self.config.seed, "held-out ink", self.device)
        )

    def _within(self, passes: int) -> int:
        """Held-out pictures that so many passes are enough for."""
        pixels = math.prod(self.data.picture)
        each = self.config.glimpses * (pixels + 8 * self.config.hidden)
        return min(len(self.data.test), max(FEWEST, passes // each))

    def _affordable(self) -> int:
        return min(MOST, self._within(EVALUATION_PASSES))

    def bound(self) -> bound.Bound:
        """L of held-out pictures at the present step, measured at most once for it."""
        if self._measured is None or self._measured_step != self._step:
            # The same pictures and the same noise each time: the curve then shows learning and not chance.
            generator = stream(self.config.seed, "evaluation", self.device)
            self._measured = bound.measure(self.model, self.held_out(self._affordable()), generator)
            self._measured_step = self._step
        return self._measured

    def _evaluate(self) -> dict[str, float]:
        if self.classifier is not None:
            errors, entropy = self.errors(self._affordable())
            return {"error_percent": float(errors[-1]), "entropy_nats": entropy}
        config = self.config
        measured = self.bound()
        few = self.held_out(max(FEWEST // 2, self._affordable() // config.importance))
        generator = stream(config.seed, "importance", self.device)
        weighted = bound.importance_weighted(self.model, few, config.importance, generator)
        scalars = {"bound_nats": measured.nats, "importance_nats": float(weighted.mean())}
        if self.twin is not None:
            generator = stream(config.seed, "evaluation", self.device)
            other = bound.measure(self.twin.model, self.held_out(self._affordable()), generator).nats
            names = ("attention_nats", "whole_nats") if config.attention else ("whole_nats", "attention_nats")
            scalars |= {"twin_bound_nats": other, names[0]: measured.nats, names[1]: other}
        return scalars

    @torch.no_grad()
    def errors(self, count: int) -> tuple[np.ndarray, float]:
        """Of the classifier on the first held-out pictures.

        Returns
        -------
        errors : array (T,)
            Percent of wrong answers, had it to answer after each glimpse.
        entropy : float
            Cross-entropy of the last answer, nats.
        """
        assert self.classifier is not None and self.data.test_labels is not None
        wrong = torch.zeros(self.config.glimpses, dtype=torch.float64)
        entropy = 0.0
        x, labels = self.held_out(count), self.data.test_labels[:count]
        for part, truth in zip(x.split(128), labels.split(128), strict=True):
            logits = self.classifier.look(self.data.pictures(part), every_answer=True).logits
            wrong += torch.stack([(answer.argmax(1) != truth).sum() for answer in logits]).cpu()
            entropy += float(functional.cross_entropy(logits[-1], truth, reduction="sum"))
        return (100.0 * wrong / len(x)).numpy(), entropy / len(x)

    def summary(self) -> dict[str, Any]:
        """Both bounds on many held-out pictures with their standard errors, or the classifier's error."""
        count = self._within(SUMMARY_PASSES)
        if self.classifier is not None:
            errors, entropy = self.errors(count)
            share = float(errors[-1]) / 100
            return {
                "error_percent": float(errors[-1]),
                "error_error_percent": 100 * math.sqrt(share * (1 - share) / count),
                "entropy_nats": entropy,
                "held_out_pictures": count,
            }
        generator = stream(self.config.seed, "summary", self.device)
        x = self.held_out(count)
        measured = bound.measure(self.model, x, generator)
        samples = self.config.importance
        weighed = x[: self._within(SUMMARY_PASSES // samples)]
        weighted = bound.importance_weighted(self.model, weighed, samples, generator).double()
        summary: dict[str, Any] = {
            "bound_nats": measured.nats,
            "bound_error_nats": measured.error,
            "reconstruction_nats": measured.reconstruction,
            "kl_nats": float(measured.divergence.sum()),
            "held_out_pictures": count,
            "importance_nats": float(weighted.mean()),
            "importance_error_nats": float(weighted.std()) / math.sqrt(len(weighed))
            if len(weighed) > 1
            else math.nan,
            "importance_samples": samples,
            "importance_pictures": len(weighed),
            "pixels": "Bernoulli means"
            if self.data.binarisation == "means" and self.data.levels > 2
            else "binary",
        }
        if self.twin is not None:
            summary["twin_bound_nats"] = bound.measure(self.twin.model, x, generator).nats
        return summary

    # --- live changes  ----------

    def apply(self, changes: Mapping[str, Any]) -> None:
        super().apply(changes)
        for learner in (self.learner, self.twin):
            if learner is not None:
                learner.settings = self.config

    # --- the hand and the pictures  ----------

    def picked(self) -> Tensor:
        """The picture in the person's hand, (1, pixels): their own, or the picked one of those held out."""
        return self.followed(1)

    def followed(self, count: int) -> Tensor:
        """Held-out pictures that are followed, from the picked one on, (count, pixels); one's own stands first."""
        index = (self.hand.image + torch.arange(count)) % len(self.data.test)
        # Each with a generator of its own, so that a picture has the same ink wherever it stands.
        seed, device, test = self.config.seed, self.device, self.data.test
        chosen = torch.cat(
            [self.data.prepared(test[i : i + 1], stream(seed, f"ink of {i}", device)) for i in index.tolist()]
        )
        if self.hand.own is not None:
            chosen[0] = torch.from_numpy(self.hand.own).to(self.device)
        return chosen

    def act(self, action: Action) -> Mapping[str, Any] | None:
        """Answer the hand.

        Answers
        -------
        PickImage, OwnImage
            ``image``: the picture in the hand, (H, W) or (H, W, 3) float32 in 0 .. 1.
        Probe
            ``glimpse`` (n, n) or (n, n, 3), ``written`` as the picture, ``f_x`` (n, width), ``f_y`` (n, height).
        HoldBrush
            ``step``; ``before`` and ``after``, (T + 1, H, W) or with colours: the canvases without and with the hand.
        LetGo
            None.
        GiveHand
            ``image``, ``own``, ``probe``, ``brush`` and ``fan``, as in `Hand`; ``own`` a picture (H, W) or (H, W, 3).
        FanOut
            ``step``; ``endings`` (endings, H, W) or with colours; the first is the drawing as it was.
        """
        match action:
            case PickImage():
                self.hand.image = action.index % len(self.data.test)
                self.hand.own = None
                return {"image": self._picked_image()}
            case OwnImage():
                own = None if action.image is None else self.data.own(action.image)
                self.hand.own = None if own is None else own[0].numpy().copy()
                return {"image": self._picked_image()}
            case Probe():
                return self._probe(action)
            case HoldBrush():
                return self._hold(action)
            case LetGo():
                self.hand.brush = None
                return None
            case GiveHand():
                hand = self.hand
                return {
                    "image": hand.image,
                    "own": None if hand.own is None else self._picked_image(),
                    "probe": hand.probe,
                    "brush": hand.brush,
                    "fan": hand.fan,
                }
            case FanOut():
                self._check_step(action.step)
                if not 1 <= action.endings <= MOST_ENDINGS:
                    raise InputError(
                        f"{action.endings} endings cannot be shown: choose from 1 to {MOST_ENDINGS}."
                    )
                self.hand.fan = action
                ends = drawings.fan(self, action).canvases[-1]
                return {"step": action.step, "endings": drawings.canvas_images(ends)}
            case _:
                return super().act(action)

    def _picked_image(self) -> np.ndarray:
        return drawings.images(self.data.pictures(self.picked()))[0]

    def _probe(self, action: Probe) -> Mapping[str, Any]:
        numbers = (action.g_x, action.g_y, action.delta, action.sigma, action.gamma)
        if not all(math.isfinite(number) for number in numbers):
            raise InputError("The probe has no place: give it a finite centre, stride and width.")
        if max(abs(number) for number in numbers) > 1e4:
            raise InputError("The probe lies too far away: keep it within 10000 pixels.")
        if not 1 <= action.n <= 64:
            raise InputError(f"A probe of {action.n} filters per side cannot be laid: choose from 1 to 64.")
        if action.delta <= 0 or action.sigma < NEAR_ZERO or action.gamma < NEAR_ZERO:
            raise InputError(
                f"The probe's stride must be above 0, and its width and intensity at least {NEAR_ZERO:g}: enlarge them."
            )
        self.hand.probe = action
        seen = pictures.probed(self)
        return {
            "glimpse": seen.glimpse,
            "written": seen.written,
            "f_x": seen.f_x,
            "f_y": seen.f_y,
        }

    def _check_step(self, step: int) -> None:
        glimpses = self.model.shape.glimpses
        if not 1 <= step <= glimpses:
            raise InputError(f"The drawing has no step {step}: choose one from 1 to {glimpses}.")

    def _hold(self, action: HoldBrush) -> Mapping[str, Any]:
        self._check_step(action.step)
        if action.of not in ("sample", "picture"):
            raise InputError("The brush is held in a sample or in the picked picture: choose one of them.")
        if action.last is not None:
            self._check_step(action.last)
            if action.last < action.step:
                raise InputError("The brush is let go before it is taken: choose a later last step.")
        if action.window is not None:
            if not self.model.shape.attention:
                raise InputError(
                    "Without attention there is no window to move: paint on the canvas, or choose attention=true."
                )
            if len(action.window) != 4 or not all(math.isfinite(number) for number in action.window):
                raise InputError("The held window has no place: give it a finite centre, stride and width.")
            if max(abs(number) for number in action.window) > 1e4:
                raise InputError("The held window lies too far away: keep it within 10000 pixels.")
            if action.window[2] <= 0 or action.window[3] < NEAR_ZERO:
                raise InputError(
                    f"The held window's stride must be above 0 and its width at least {NEAR_ZERO:g}: enlarge them."
                )
        if action.paint is not None:
            channels, height, width = self.data.picture
            allowed = {(height, width), (height, width, channels)}
            paint = np.asarray(action.paint)
            if paint.shape not in allowed or not np.issubdtype(paint.dtype, np.floating):
                raise InputError(
                    f"The painting has the shape {paint.shape}, the canvas has {(height, width)}: paint on the canvas."
                )
            painted = paint[~np.isnan(paint)]
            if painted.size and (painted.min() < 0 or painted.max() > 1):
                raise InputError("Painted ink lies outside of 0 to 1: choose a colour between them.")
            action = HoldBrush(
                action.step, action.of, action.index, action.window, action.last, paint.astype(np.float32)
            )
        self.hand.brush = action
        both = drawings.held(self, action)
        return {
            "step": action.step,
            "before": drawings.film_images(both.before),
            "after": drawings.film_images(both.after),
        }

    def figures(self, wanted: Collection[str]) -> dict[str, Figure]:
        return pictures.figures(self, wanted)

    # --- rewind  ----------

    def data_description(self) -> Mapping[str, str]:
        return self.data.dataset.description()

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {
            "step": self._step,
            "order": self._order.get_state(),
            "ink": self._ink.get_state(),
            "noise": self._noise.get_state(),
            "twin_noise": self._twin_noise.get_state(),
            "hand": self.hand.state_dict(),
        }
        if self.classifier is not None:
            state["model"] = self.classifier.state_dict()
            state["optimizer"] = self._optimizer.state_dict()
        if self.learner is not None:
            state |= self.learner.state_dict()
        if self.twin is not None:
            state["twin"] = self.twin.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._step = state["step"]
        self._order.set_state(state["order"])
        self._ink.set_state(state["ink"])
        self._noise.set_state(state["noise"])
        self._twin_noise.set_state(state["twin_noise"])
        self.hand.load_state_dict(state["hand"])
        if self.classifier is not None:
            self.classifier.load_state_dict(state["model"])
            self._optimizer.load_state_dict(state["optimizer"])
        if self.learner is not None:
            self.learner.load_state_dict(state)
        if self.twin is not None:
            self.twin.load_state_dict(state["twin"])
        self._measured = None
