"""Engine states as bytes and back: safetensors with a JSON skeleton; runs in workers, never unpickles.

Tensors and arrays go into the safetensors body; numbers, texts, lists and the nesting go into its metadata as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engines.errors import RunError

_TENSOR, _ARRAY, _ITEMS = "__tensor__", "__array__", "__items__"
_MARKS = {_TENSOR, _ARRAY, _ITEMS}


def pack(state: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> bytes:
    """One keyframe's bytes from what ``Engine.state_dict`` gave."""
    import numpy as np
    import safetensors.torch
    import torch

    tensors: dict[str, torch.Tensor] = {}

    def strip(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            key = str(len(tensors))
            # safetensors refuses views of shared memory, and a keyframe is a copy anyway.
            tensors[key] = value.detach().to("cpu", copy=True).contiguous()
            return {_TENSOR: key}
        if isinstance(value, np.ndarray):
            key = str(len(tensors))
            tensors[key] = torch.from_numpy(np.array(value, copy=True, order="C"))
            return {_ARRAY: key}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, Mapping):
            if all(isinstance(key, str) for key in value) and not _MARKS & value.keys():
                return {key: strip(part) for key, part in value.items()}
            if not all(isinstance(key, str | int) for key in value):
                raise TypeError("an engine's state has a key that is neither text nor whole number")
            return {_ITEMS: [[key, strip(part)] for key, part in value.items()]}
        if isinstance(value, list | tuple):
            return [strip(part) for part in value]
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise TypeError(f"an engine's state holds a {type(value).__name__}, which no keyframe can hold")

    skeleton = json.dumps(strip(state))
    return safetensors.torch.save(tensors, {**(metadata or {}), "skeleton": skeleton})


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, str]]:
    """State and metadata of one keyframe's bytes.

    Raises
    ------
    RunError
        When the bytes are no keyframe.
    """
    import safetensors
    import safetensors.torch

    try:
        tensors = safetensors.torch.load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        skeleton = json.loads(metadata.pop("skeleton"))
    except (
        safetensors.SafetensorError,
        ValueError,
        KeyError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise RunError(f"This is no keyframe ({error}): choose another keyframe of the run.") from None

    def restore(value: Any) -> Any:
        if isinstance(value, dict):
            if _TENSOR in value:
                return tensors[value[_TENSOR]]
            if _ARRAY in value:
                return tensors[value[_ARRAY]].numpy()
            if _ITEMS in value:
                return {key: restore(part) for key, part in value[_ITEMS]}
            return {key: restore(part) for key, part in value.items()}
        if isinstance(value, list):
            return [restore(part) for part in value]
        return value

    try:
        state = restore(skeleton)
        if not isinstance(state, dict):
            raise TypeError("its state has no names")
        return state, metadata
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RunError(f"This keyframe is not whole ({error}): choose another keyframe of the run.") from None
