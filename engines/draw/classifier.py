"""The encoder of DRAW alone, which looks at a picture through its reading window and names the class; any device.

Gregor et al. 2015, arXiv:1502.04623, section 4.1: nothing is drawn, there is no latent and no error picture. The window of a
glimpse hangs on the LSTM's state after the glimpse before; the softmax stands after the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engines.draw.filterbank import Geometry, Window, read
from engines.draw.model import HEAD_SCALE, lstm


@dataclass(frozen=True)
class Glimpses:
    """What a classifier saw.

    Attributes
    ----------
    windows : list of Window
        Of the glimpses 1 .. T.
    patches : list of Tensor (B, N, C, N)
    logits : list of Tensor (B, classes)
        What it would answer after each glimpse. It is trained on the last.
    """

    windows: list[Window]
    patches: list[Tensor]
    logits: list[Tensor]


class Classifier(nn.Module):
    """LSTM with a reading window and a softmax.

    Parameters
    ----------
    picture : (channels, height, width)
    glimpses, read_n, hidden, classes : int
    generator : torch.Generator
        Of the first weights, on the CPU.
    """

    def __init__(
        self,
        picture: tuple[int, int, int],
        glimpses: int,
        read_n: int,
        hidden: int,
        classes: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        channels, height, width = picture
        self.geometry = Geometry(width, height, read_n)
        self.glimpses = glimpses
        inputs = channels * read_n**2 + hidden

        def normal(rows: int, columns: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn((rows, columns), generator=generator) * scale)

        self.encoder = normal(4 * hidden, inputs, inputs**-0.5)
        bias = torch.zeros(4 * hidden)
        bias[2 * hidden : 3 * hidden] = 1.0
        self.encoder_bias = nn.Parameter(bias)
        self.window = normal(5, hidden, HEAD_SCALE)
        self.window_bias = nn.Parameter(torch.zeros(5))
        self.answer = normal(classes, hidden, hidden**-0.5)
        self.answer_bias = nn.Parameter(torch.zeros(classes))
        self.first_hidden = nn.Parameter(torch.zeros(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, classes) after the last glimpse at pictures (B, height, channels, width)."""
        return self.look(x).logits[-1]

    def look(self, x: Tensor, *, every_answer: bool = False) -> Glimpses:
        """All glimpses at pictures (B, height, channels, width); with the answer after each, or after the last alone."""
        hidden = self.first_hidden.expand(len(x), -1)
        cell = torch.zeros_like(hidden)
        seen = Glimpses([], [], [])
        for step in range(1, self.glimpses + 1):
            window = self.geometry.window(torch.addmm(self.window_bias, hidden, self.window.T))
            patch = read(x, self.geometry, window)
            inputs = torch.cat([patch.flatten(1), hidden], 1)
            hidden, cell = lstm(torch.addmm(self.encoder_bias, inputs, self.encoder.T), cell)
            seen.windows.append(window)
            seen.patches.append(patch)
            if every_answer or step == self.glimpses:
                seen.logits.append(torch.addmm(self.answer_bias, hidden, self.answer.T))
        return seen
