"""The LSTM that writes the caption, all words of a batch at once or one word at a time; runs on the worker's loop.

Xu et al. 2015, arXiv:1502.03044. At each word the attention network sees h_{t-1} and weighs the annotations a_i of the
image (`attention`); their context z_t, scaled by the gate beta_t = sigmoid(w h_{t-1} + b), a single number, enters the LSTM
together with the last word; the word is then predicted from the new state, deep output:
L_o tanh(E y_{t-1} + L_h h_t + L_z z_t).

Speed
-----
What does not depend on the state is done for all words at once outside of the loop: W E y_{t-1}, W_a a_i, the deep output.
Inside, one product with h_{t-1} serves attention, gate and LSTM. The loop's gradient is written by hand (`_Words`), so that
automatic differentiation does not record dozens of small operations at each word; weights get theirs in one product over all
words. The tanh over all locations, most of what is left, is computed as 2 sigmoid(2x) - 1, which is three times as fast, and
whose constant the softmax cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engines.show_attend_tell.attention import Attention, draw, normal, orthogonal
from engines.show_attend_tell.vocabulary import START


@dataclass(frozen=True)
class Sizes:
    """Widths of the layers.

    Attributes
    ----------
    annotation : int
        D.
    words : int
        Size of the vocabulary.
    embedding : int
        m, of a word and of the deep output.
    state : int
        n, of the LSTM.
    attention : int
        K.
    """

    annotation: int
    words: int
    embedding: int
    state: int
    attention: int


class Unrolled(NamedTuple):
    """What the loop over the words gives; time first.

    Attributes
    ----------
    states : Tensor (C, B, n)
        h_t.
    contexts : Tensor (C, B, D)
        z_t, with the gate.
    alphas : Tensor (C, B, L)
    gates : Tensor (C, B)
        beta_t.
    locations : Tensor (C, B) of int64
        s_t where attention is hard, otherwise -1.
    """

    states: Tensor
    contexts: Tensor
    alphas: Tensor
    gates: Tensor
    locations: Tensor


class State(NamedTuple):
    """Where the LSTM stands: h and c, (B, n) each."""

    h: Tensor
    c: Tensor


class Step(NamedTuple):
    """One word further: see `Decoder.advance`."""

    logits: Tensor
    state: State
    alphas: Tensor
    gates: Tensor
    locations: Tensor


class Decoder(nn.Module):
    """Everything between annotations and words.

    Parameters
    ----------
    sizes : Sizes
    attention_layers, init_layers : {1, 2}
    gate : bool
        Whether beta_t scales the context; otherwise it is 1.
    previous_to_output, context_to_output : bool
        Whether the deep output sees the last word and the context.
    deviation : float or None
        Of the initial weights; None scales them with the number of inputs. Recurrent weights are orthogonal, and the LSTM's
        biases zero, either way.
    generator : torch.Generator
    """

    def __init__(
        self,
        sizes: Sizes,
        *,
        attention_layers: int = 1,
        init_layers: int = 1,
        gate: bool = True,
        previous_to_output: bool = True,
        context_to_output: bool = True,
        deviation: float | None = None,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.sizes = sizes
        self.gate = gate
        self.previous_to_output = previous_to_output
        self.context_to_output = context_to_output
        dimension, m, n, units = sizes.annotation, sizes.embedding, sizes.state, sizes.attention

        def weights(*shape: int) -> nn.Parameter:
            return normal(shape, generator, deviation)

        def zeros(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape))

        self.embedding = normal((sizes.words, m), generator, m**-0.5 if deviation is None else deviation)
        self.attention = Attention(
            dimension, units, attention_layers, generator=generator, deviation=deviation
        )
        # [candidate, input, forget, output | attention | gate]: all that is multiplied with h_{t-1}.
        recurrent = torch.cat([orthogonal(n, generator) for _ in range(4)], dim=1)
        self.from_state = nn.Parameter(
            torch.cat([recurrent, weights(n, units).data, weights(n, 1).data], dim=1)
        )
        self.from_word, self.from_context, self.bias = (
            weights(m, 4 * n),
            weights(dimension, 4 * n),
            zeros(4 * n),
        )
        self.gate_bias = zeros(1)
        self.init_hidden = self.init_hidden_bias = None
        if init_layers == 2:
            self.init_hidden, self.init_hidden_bias = weights(dimension, dimension), zeros(dimension)
        self.init_state, self.init_state_bias = weights(dimension, 2 * n), zeros(2 * n)
        self.state_to_output, self.output_bias = weights(n, m), zeros(m)
        self.annotation_to_output = weights(dimension, m)
        self.output, self.word_bias = weights(m, sizes.words), zeros(sizes.words)

    # --- all words at once  ----------

    def embed(self, words: Tensor) -> Tensor:
        """E y for indices (...); zero for `vocabulary.START`."""
        return self.embedding[words.clamp(min=0)] * (words >= 0)[..., None]

    def start(self, annotations: Tensor, dropout: Dropout | None = None) -> State:
        """h_0 and c_0 from the mean annotation of each image (B, L, D)."""
        mean = annotations.mean(1)
        if self.init_hidden is not None and self.init_hidden_bias is not None:
            mean = torch.relu(torch.addmm(self.init_hidden_bias, mean, self.init_hidden))
            mean = mean if dropout is None else dropout(mean)
        both = torch.tanh(mean @ self.init_state + self.init_state_bias)
        c, h = both.chunk(2, dim=-1)
        return State(h, c)

    def unroll(
        self,
        annotations: Tensor,
        words: Tensor,
        *,
        temperature: float = 1.0,
        noise: Tensor | None = None,
        locations: Tensor | None = None,
        cut: bool = False,
        dropout: Dropout | None = None,
    ) -> tuple[Unrolled, Tensor]:
        """Go through given captions.

        Parameters
        ----------
        annotations : Tensor (B, L, D)
            A caption's image each.
        words : Tensor (C, B) of int64
            What is to be predicted; the end included.
        temperature : float
        noise : Tensor (C, B) or None
            Uniform numbers that draw the location of each word (hard attention); None takes the expected context (soft).
        locations : Tensor (C, B) of int64 or None
            Locations that are given and not drawn.
        cut : bool
            Keep the gradient of an expected context from reaching alpha.
        dropout : Dropout or None

        Returns
        -------
        Unrolled, Tensor (C, B, words)
            The second are the logits of p(y_t).
        """
        previous = torch.cat([torch.full_like(words[:1], START), words[:-1]])
        embedded = self.embed(previous)
        state = self.start(annotations, dropout)
        unrolled = Unrolled(
            *_Words.apply(  # type: ignore[no-untyped-call]
                annotations,
                self.attention.project(annotations),
                embedded @ self.from_word + self.bias,
                state.h,
                state.c,
                self.from_state,
                self.from_context,
                self.attention.readout / temperature,
                self.gate_bias if self.gate else None,
                noise,
                locations,
                cut,
            )
        )
        return unrolled, self.predict(embedded, unrolled.states, unrolled.contexts, dropout)

    def predict(
        self, embedded: Tensor, states: Tensor, contexts: Tensor, dropout: Dropout | None = None
    ) -> Tensor:
        """Logits (..., words) of the deep output from E y_{t-1} (..., m), h_t (..., n) and z_t (..., D)."""
        states = states if dropout is None else dropout(states)
        hidden = states @ self.state_to_output + self.output_bias
        if self.previous_to_output:
            hidden = hidden + embedded
        if self.context_to_output:
            hidden = hidden + contexts @ self.annotation_to_output
        hidden = torch.tanh(hidden)
        hidden = hidden if dropout is None else dropout(hidden)
        return hidden @ self.output + self.word_bias

    # --- one word at a time  ----------

    def advance(
        self,
        annotations: Tensor,
        projected: Tensor,
        state: State,
        words: Tensor,
        *,
        temperature: float = 1.0,
        context: str = "expected",
        noise: Tensor | None = None,
        forced: Tensor | None = None,
    ) -> Step:
        """Predict the next word of each row.

        Parameters
        ----------
        annotations : Tensor (B, L, D)
        projected : Tensor (B, L, K)
            Of `Attention.project`.
        state : State
        words : Tensor (B,) of int64
            The last words; `vocabulary.START` before the first.
        temperature : float
        context : {"expected", "likeliest", "drawn"}
            The context: the mean under alpha, the annotation of its largest weight, or of a location drawn from it.
        noise : Tensor (B,) or None
            For "drawn": uniform in 0..1.
        forced : Tensor (B, L) or (L,) or None
            Weights in place of the attention network's.

        Returns
        -------
        Step
            Logits (B, words), the state after the word, alpha (B, L), beta (B,), and the locations (B,) or -1.
        """
        n, units = self.sizes.state, self.sizes.attention
        embedded = self.embed(words)
        from_state = state.h @ self.from_state
        if forced is None:
            alphas = self.attention.weights(projected, from_state[:, 4 * n : 4 * n + units], temperature)
        else:
            alphas = forced.expand(len(annotations), -1)
        locations = torch.full_like(words, -1)
        if context == "expected":
            mean = torch.bmm(alphas[:, None], annotations)[:, 0]
        else:
            if context == "drawn":
                assert noise is not None
                locations = draw(alphas, noise)
            else:
                locations = alphas.argmax(-1)
            mean = annotations[torch.arange(len(annotations), device=annotations.device), locations]
        gates = torch.ones_like(mean[:, 0])
        if self.gate:
            gates = torch.sigmoid(from_state[:, -1] + self.gate_bias)
        z = gates[:, None] * mean
        total = from_state[:, : 4 * n] + embedded @ self.from_word + self.bias + z @ self.from_context
        g, i, f, o = total.chunk(4, dim=-1)
        c = torch.sigmoid(f) * state.c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return Step(self.predict(embedded, h, z), State(h, c), alphas, gates, locations)


class Dropout:
    """Sets numbers to zero with a probability and scales the rest, from a generator of its own."""

    def __init__(self, probability: float, generator: torch.Generator) -> None:
        self.probability = probability
        self.generator = generator

    def __call__(self, x: Tensor) -> Tensor:
        kept = 1.0 - self.probability
        mask = torch.empty_like(x).bernoulli_(kept, generator=self.generator)
        return x * mask.mul_(1.0 / kept)


class _Words(torch.autograd.Function):
    """The loop over the words, with its gradient.

    Where attention is hard the context is constant in alpha: what reaches alpha then is only what the caller derives from the
    alphas that are returned (the REINFORCE and entropy terms of `objectives`).
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        projected: Tensor,
        from_words: Tensor,
        h: Tensor,
        c: Tensor,
        from_state: Tensor,
        from_context: Tensor,
        readout: Tensor,
        gate_bias: Tensor | None,
        noise: Tensor | None,
        given: Tensor | None,
        cut: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        steps, batch, width = from_words.shape
        n, units, count = width // 4, projected.shape[2], a.shape[1]
        hidden, cells = a.new_empty(steps + 1, batch, n), a.new_empty(steps + 1, batch, n)
        hidden[0], cells[0] = h, c
        activations = a.new_empty(steps, batch, 4 * n)
        means, alphas = a.new_empty(steps, batch, a.shape[2]), a.new_empty(steps, batch, count)
        contexts = torch.empty_like(means)
        gates = a.new_ones(steps, batch, 1)
        squeezed, squashed = a.new_empty(steps, batch, count, units), a.new_empty(steps, batch, n)
        doubled, twice = projected * 2.0, readout * 2.0
        hard = noise is not None or given is not None
        locations = torch.full((steps, batch), -1, dtype=torch.int64, device=a.device)
        rows = torch.arange(batch, device=a.device)
        total = a.new_empty(batch, from_state.shape[1])
        energies = a.new_empty(batch * count)
        # The loop does not run under autograd; operations that write into what is there save most of its time.
        for t in range(steps):
            torch.mm(hidden[t], from_state, out=total)
            inner = squeezed[t]
            torch.add(doubled, total[:, None, 4 * n : 4 * n + units], alpha=2.0, out=inner).sigmoid_()
            torch.mv(inner.view(-1, units), twice, out=energies)
            torch.softmax(energies.view(batch, count), dim=-1, out=alphas[t])
            if hard:
                if given is not None:
                    locations[t] = given[t]
                elif noise is not None:
                    locations[t] = draw(alphas[t], noise[t])
                means[t] = a[rows, locations[t]]
            else:
                torch.bmm(alphas[t][:, None], a, out=means[t][:, None])
            if gate_bias is not None:
                torch.add(total[:, -1:], gate_bias, out=gates[t]).sigmoid_()
            torch.mul(means[t], gates[t], out=contexts[t])
            active = activations[t]
            torch.addmm(total[:, : 4 * n], contexts[t], from_context, out=active).add_(from_words[t])
            active[:, :n].tanh_()
            active[:, n:].sigmoid_()
            cell = torch.mul(active[:, 2 * n : 3 * n], cells[t], out=cells[t + 1])
            cell.addcmul_(active[:, :n], active[:, n : 2 * n])
            torch.tanh(cell, out=squashed[t])
            torch.mul(squashed[t], active[:, 3 * n :], out=hidden[t + 1])
        ctx.save_for_backward(
            a, from_state, from_context, readout, hidden, cells, activations, means, contexts, alphas, gates,
            squeezed, squashed, locations,
        )  # fmt: skip
        ctx.hard, ctx.cut, ctx.gated = hard, hard or cut, gate_bias is not None
        ctx.mark_non_differentiable(locations)
        ctx.set_materialize_grads(False)
        return hidden[1:], contexts, alphas, gates[:, :, 0], locations

    @staticmethod
    def backward(
        ctx: Any,
        of_states: Tensor | None,
        of_contexts: Tensor | None,
        of_alphas: Tensor | None,
        of_gates: Tensor | None,
        _: None,
    ) -> tuple[Tensor | None, ...]:
        (
            a, from_state, from_context, readout, hidden, cells, activations, means, contexts, alphas, gates,
            squeezed, squashed, locations,
        ) = ctx.saved_tensors  # fmt: skip
        steps, batch, width = activations.shape
        n, units = width // 4, squeezed.shape[3]
        hard, cut, gated = ctx.hard, ctx.cut, ctx.gated
        looks = not cut or of_alphas is not None
        g, i, f, o = activations.split(n, dim=-1)
        # What the gradients of h and c are multiplied with at each step, for all steps at once.
        by_cell = torch.stack([i * (1 - g * g), g * i * (1 - i), cells[:-1] * f * (1 - f)], dim=2)
        by_output = squashed * o * (1 - o)
        by_squash = o * (1 - squashed * squashed)
        by_gate = gates * (1 - gates)
        into = a.new_zeros(steps, batch, from_state.shape[1])
        of_means = torch.empty_like(means)
        of_projected = torch.zeros_like(squeezed[0]) if looks else None
        of_readout = torch.zeros_like(readout)
        back, context_back = from_state.t().contiguous(), from_context.t().contiguous()
        dh, dc = torch.zeros_like(hidden[0]), torch.zeros_like(cells[0])
        dz, slopes = torch.empty_like(means[0]), torch.empty_like(squeezed[0])
        turned, four = a.transpose(1, 2).contiguous(), readout * 4.0
        for t in reversed(range(steps)):
            if of_states is not None:
                dh += of_states[t]
            dc.addcmul_(dh, by_squash[t])
            step = into[t]
            torch.mul(dc[:, None], by_cell[t], out=step[:, : 3 * n].unflatten(1, (3, n)))
            torch.mul(dh, by_output[t], out=step[:, 3 * n : 4 * n])
            dc *= f[t]
            if of_contexts is None:
                torch.mm(step[:, : 4 * n], context_back, out=dz)
            else:
                torch.addmm(of_contexts[t], step[:, : 4 * n], context_back, out=dz)
            if gated:
                slope = (dz * means[t]).sum(-1)
                if of_gates is not None:
                    slope += of_gates[t]
                torch.mul(slope[:, None], by_gate[t], out=step[:, -1:])
            torch.mul(dz, gates[t], out=of_means[t])
            if looks:
                if cut:
                    assert of_alphas is not None
                    of_alpha = of_alphas[t]
                elif of_alphas is None:
                    of_alpha = torch.bmm(of_means[t][:, None], turned)[:, 0]
                else:
                    of_alpha = torch.baddbmm(of_alphas[t][:, None], of_means[t][:, None], turned)[:, 0]
                of_energy = torch._softmax_backward_data(of_alpha, alphas[t], -1, alphas.dtype)
                of_readout += of_energy.view(-1) @ squeezed[t].view(-1, units)
                torch.ops.aten.sigmoid_backward.grad_input(
                    of_energy[:, :, None].expand_as(slopes), squeezed[t], grad_input=slopes
                )
                assert of_projected is not None
                of_projected += slopes
                torch.mul(slopes.sum(1), four, out=step[:, 4 * n : 4 * n + units])
            torch.mm(step, back, out=dh)
        flat = into.view(-1, into.shape[2])
        of_total = flat[:, : 4 * n]
        if of_projected is not None:
            of_projected *= four
        weights = alphas
        if hard:
            weights = torch.zeros_like(alphas).scatter_(2, locations[:, :, None], 1.0)
        of_a = torch.bmm(weights.permute(1, 2, 0), of_means.transpose(0, 1))
        return (
            of_a,
            of_projected,
            into[:, :, : 4 * n],
            dh,
            dc,
            hidden[:-1].reshape(-1, n).t() @ flat,
            contexts.view(-1, contexts.shape[2]).t() @ of_total,
            # The softmax's gradients sum to zero over the locations: the constant of the tanh adds nothing.
            of_readout * 2.0,
            flat[:, -1].sum(0, keepdim=True) if gated else None,
            None,
            None,
            None,
        )
