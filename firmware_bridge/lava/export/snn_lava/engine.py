"""The whole network in numpy: many tokens per call, with the state that the next call continues from.

This is what the single-process form executes; nothing of Lava is in it. Currents are float32 in membrane
units (64 per unit of current) and membranes float64. Both hold every integer that can occur: currents stay
below 2**17, so 64 times a sum of two of them stays within 2**24, and the decay's product within 2**31.

Values have the shape ``[T, rows, tokens, channels]``: one inner timestep is one contiguous block.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from snn_lava.arithmetic import Embedding, Readout

#: Membrane units per unit of current.
SCALE = 64
#: A membrane is saturated to plus or minus this.
MEMBRANE_MAX = 2.0**23 - 1
#: Largest magnitude of the residual stream, in membrane units.
RESIDUAL_MAX = np.float32(SCALE * (2**17 - 1))
#: Tokens that one call takes at most; the rings have room for as many.
MOST_TOKENS = 256

Step = Callable[[dict, dict], None]


class Engine:
    """Executes the ops of a network.

    Args:
        manifest: Content of ``manifest.json``.
        arrays: Content of ``weights.npz``.
    """

    def __init__(self, manifest: dict, arrays: dict) -> None:
        self._timesteps = manifest["timesteps"]
        makers = {
            "Linear": self._linear,
            "LIF": self._lif,
            "Shift": self._shift,
            "Attend": self._attend,
            "Add": self._add,
            "Saturate": self._saturate,
            "Count": self._count,
        }
        ops = manifest["ops"]
        tensors = [{role: arrays[name] for role, name in op["tensors"].items()} for op in ops]
        self._source, self._counts = ops[0]["out"], ops[-1]["inputs"][0]
        self._embedding = Embedding(**tensors[0], shift=ops[0]["shift"])
        self._readout = Readout(**tensors[-1], shift=ops[-1]["shift"])
        self._steps: list[Step] = [
            makers[op["op"]](op, own) for op, own in zip(ops[1:-1], tensors[1:-1], strict=True)
        ]

    def run(self, ids: np.ndarray, state: dict, *, every: bool) -> np.ndarray:
        """Run tokens.

        Args:
            ids: Token ids ``[rows, tokens]``, at most `MOST_TOKENS` tokens.
            state: What the tokens before left; an empty dictionary for a new context. Changed in place.
            every: Whether the logits of every token are made, or of the last one only.

        Returns:
            Logits, float32 ``[rows, tokens, vocab]`` or ``[rows, 1, vocab]``: integers below 2**24.
        """
        rows, tokens = ids.shape
        current = (SCALE * self._embedding(ids.ravel())).astype(np.float32).reshape(1, rows, tokens, -1)
        values = {self._source: np.broadcast_to(current, (self._timesteps, *current.shape[1:]))}
        for step in self._steps:
            step(values, state)
        counts = values[self._counts] if every else values[self._counts][:, -1:]
        logits = self._readout(counts.reshape(-1, counts.shape[-1]))
        return logits.reshape(*counts.shape[:2], -1)

    def _linear(self, op: dict, own: dict) -> Step:
        (source,), out = op["inputs"], op["out"]
        weight = SCALE * own["weight"].astype(np.float32)

        def step(values: dict, state: dict) -> None:
            spikes = values[source]
            flat = spikes.reshape(-1, spikes.shape[-1]) @ weight
            values[out] = flat.reshape(*spikes.shape[:-1], -1)

        return step

    def _lif(self, op: dict, own: dict) -> Step:
        (source,), out, keep = op["inputs"], op["out"], op["decay"] / 256
        theta, bias = own["threshold"].astype(np.float64), own["bias"].astype(np.float64)
        clip = op["clip"]

        def step(values: dict, state: dict) -> None:
            drive = np.add(values[source], bias, dtype=np.float64)
            spikes = np.empty(drive.shape, np.float32)
            fired = np.empty(drive.shape[1:], bool)
            membrane = drive[0]
            last = len(drive) - 1
            for t in range(last + 1):
                if t:
                    membrane *= keep
                    np.trunc(membrane, out=membrane)
                    membrane += drive[t]
                # The upper saturation cannot change a spike: every threshold lies below it.
                if clip:
                    np.maximum(membrane, -MEMBRANE_MAX, out=membrane)
                np.greater(membrane, theta, out=fired)
                spikes[t] = fired
                if t < last:
                    np.copyto(membrane, 0, where=fired)
            values[out] = spikes

        return step

    def _shift(self, op: dict, own: dict) -> Step:
        (source,), out, name = op["inputs"], op["out"], op["name"]
        places = own["channels"]
        side_by_side = len(places) and int(places[-1]) - int(places[0]) + 1 == len(places)
        moved = slice(int(places[0]), int(places[-1]) + 1) if side_by_side else places

        def step(values: dict, state: dict) -> None:
            spikes = values[source].copy()
            current = spikes[..., moved].copy()
            last = state.get(name)
            spikes[:, :, 0, moved] = 0 if last is None else last
            spikes[:, :, 1:, moved] = current[:, :, :-1]
            state[name] = current[:, :, -1]
            values[out] = spikes

        return step

    def _attend(self, op: dict, own: dict) -> Step:
        (source,), out, name = op["inputs"], op["out"], op["name"]
        windows, width, timesteps = op["windows"], op["head_dim"], self._timesteps
        heads, past = len(windows), max(windows) - 1
        room = past + max(past, MOST_TOKENS)
        masks: dict = {}

        def step(values: dict, state: dict) -> None:
            qkv = values[source]
            _, rows, tokens, _ = qkv.shape
            split = qkv.reshape(timesteps, rows, tokens, 3, heads, width)
            ring = state.get(name)
            if ring is None:
                shape = (timesteps, rows, heads, room, width)
                ring = state[name] = [np.zeros(shape, np.float32), np.zeros(shape, np.float32), past]
            keys, kept, end = ring
            if end + tokens > room:
                for array in (keys, kept):
                    array[..., :past, :] = array[..., end - past : end, :].copy()
                end = past
            stop = end + tokens
            keys[..., end:stop, :] = split[..., 1, :, :].swapaxes(2, 3)
            np.multiply(split[..., 2, :, :].swapaxes(2, 3), SCALE, out=kept[..., end:stop, :])
            made = np.empty((timesteps, rows, tokens, heads, width), np.float32)
            for head, window in enumerate(windows):
                seen = slice(end - window + 1, stop)
                scores = split[..., 0, head, :] @ keys[:, :, head, seen].swapaxes(-1, -2)
                if tokens > 1:
                    scores *= _mask(masks, tokens, window)
                made[..., head, :] = scores @ kept[:, :, head, seen]
            ring[2] = stop
            values[out] = made.reshape(timesteps, rows, tokens, heads * width)

        return step

    def _add(self, op: dict, own: dict) -> Step:
        (left, right), out = op["inputs"], op["out"]

        def step(values: dict, state: dict) -> None:
            values[out] = values[left] + values[right]

        return step

    def _saturate(self, op: dict, own: dict) -> Step:
        (source,), out = op["inputs"], op["out"]

        def step(values: dict, state: dict) -> None:
            values[out] = np.clip(values[source], -RESIDUAL_MAX, RESIDUAL_MAX)

        return step

    def _count(self, op: dict, own: dict) -> Step:
        (source,), out = op["inputs"], op["out"]

        def step(values: dict, state: dict) -> None:
            values[out] = values[source].sum(axis=0)

        return step


def _mask(masks: dict, tokens: int, window: int) -> np.ndarray:
    """1 where a token sees another, float32 ``[tokens, window - 1 + tokens]``; kept for the next call."""
    if (tokens, window) not in masks:
        age = (window - 1 + np.arange(tokens))[:, None] - np.arange(window - 1 + tokens)
        masks[tokens, window] = ((age >= 0) & (age < window)).astype(np.float32)
    return masks[tokens, window]
