"""Fixed point quantization of deep convolutional networks (Lin, Talathi, Annapureddy 2016); engine side, no Qt."""
