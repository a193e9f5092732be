"""The thin binding of the C engine: one object per loaded program, plain integers across the border."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesnn.errors import ProgramFormatError, RunnerError, TextError
from edgesnn.runners.native.build import library

UInt32Array = npt.NDArray[np.uint32]
Int32Array = npt.NDArray[np.int32]
#: Tokens of a prompt that run through each layer together; more gave no speed (docs/engine.md).
CHUNK = 16
_TOKEN = "SNN_E_TOKEN"
_OWN = frozenset({"SNN_E_ARGUMENT", "SNN_E_MEMORY", "SNN_E_ALIGNMENT", "SNN_E_STATE"})
_U32, _U64, _SIZE, _AT = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_void_p


class _Info(ctypes.Structure):
    _fields_ = (
        ("timesteps", _U32),
        ("ops", _U32),
        ("vocab", _U32),
        ("rank", _U32),
        ("window", _U32),
        ("exponent", ctypes.c_int32),
        ("state_bytes", _SIZE),
        ("hash", ctypes.POINTER(ctypes.c_uint8)),
        ("kernels", ctypes.c_char_p),
        ("inputs", _U32),
        ("outputs", _U32),
    )


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What a loaded engine says of itself.

    Attributes:
        vocab: Token ids; 0 of a program that reads frames.
        inputs: Samples of a frame; 0 of a program that reads tokens.
        outputs: Width of what comes out: token ids, or the outputs of a frame.
        rank: Bytes of the readout codes.
        state_bytes: Bytes of a saved state.
        program_hash: Hash that names the program, hex.
        kernels: Name of the kernel set that executes.
        compiler: What compiled it.
        context_bytes: Memory of one sequence.
    """

    vocab: int
    inputs: int
    outputs: int
    rank: int
    state_bytes: int
    program_hash: str
    kernels: str
    compiler: str
    context_bytes: int


_SIGNATURES: dict[str, tuple[object, ...]] = {
    "snn_host_open": (_AT, _SIZE, ctypes.c_char_p, _U32, ctypes.POINTER(_AT)),
    "snn_host_reset": (_AT, _U32, _U32),
    "snn_host_step": (_AT, _U32, _AT),
    "snn_host_steps": (_AT, _AT, _AT),
    "snn_host_prefill": (_AT, _AT, _SIZE, _AT),
    "snn_host_sequence": (_AT, _AT, _SIZE, _AT),
    "snn_host_frames": (_AT, _AT, _SIZE, _AT, ctypes.c_int),
    "snn_host_frames_window": (_AT, _AT, _SIZE, _U32, _U32, _AT, _AT),
    "snn_host_top": (_AT, _U32, _U32, _AT, _AT),
    "snn_host_two_pass": (_AT, ctypes.c_int),
    "snn_host_greedy": (_AT, _U32, _U32, _U32, _AT, _AT),
    "snn_host_save": (_AT, _U32, ctypes.c_int, _AT, ctypes.POINTER(_U64)),
    "snn_host_restore": (_AT, _U32, _AT, _U64),
    "snn_host_window": (_AT, _AT, _SIZE, _U32, _U32, _AT, _AT, _AT),
    "snn_host_logits_of": (_AT, _AT, _AT),
}


@cache
def _load(path: Path) -> ctypes.CDLL:
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        raise RunnerError(
            f"the native engine does not load: {error}", remedy=f"delete '{path}' and try again"
        ) from None
    for name, arguments in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = arguments, ctypes.c_int
    loaded.snn_host_close.argtypes, loaded.snn_host_close.restype = (_AT,), None
    loaded.snn_host_info.argtypes, loaded.snn_host_info.restype = (_AT, ctypes.POINTER(_Info)), None
    loaded.snn_host_context_bytes.argtypes, loaded.snn_host_context_bytes.restype = (_AT,), _U64
    loaded.snn_host_kernels.argtypes, loaded.snn_host_kernels.restype = (_U32,), ctypes.c_char_p
    loaded.snn_status_name.argtypes, loaded.snn_status_name.restype = (ctypes.c_int,), ctypes.c_char_p
    return loaded


def kernel_sets() -> tuple[str, ...]:
    """Names of the kernel sets that this processor can run, best first.

    Raises:
        RunnerError: The engine cannot be built.
    """
    loaded = _load(library()[0])
    names: list[str] = []
    while (name := loaded.snn_host_kernels(len(names))) is not None:
        names.append(name.decode())
    return tuple(names)


class Engine:
    """One program in the C engine, with the contexts of its sequences.

    Args:
        data: The bytes of ``program.snn``.
        kernels: Name of a kernel set, or None for the best of this processor.
        chunk: Tokens of a prompt that run through each layer together.

    Raises:
        RunnerError: The engine cannot be built, or refused the arguments.
        ProgramFormatError: The engine's reader refused the file; its status is in the message.
    """

    def __init__(self, data: bytes, kernels: str | None = None, chunk: int = CHUNK) -> None:
        path, compiler = library()
        self._library = _load(path)
        self._host: int | None = None
        handle = ctypes.c_void_p()
        name = None if kernels is None else kernels.encode()
        buffer = ctypes.create_string_buffer(data, len(data))
        status = self._library.snn_host_open(buffer, len(data), name, chunk, ctypes.byref(handle))
        self._check(status)
        self._host = handle.value
        info = _Info()
        self._library.snn_host_info(self._host, ctypes.byref(info))
        self.info = EngineInfo(
            vocab=int(info.vocab),
            inputs=int(info.inputs),
            outputs=int(info.vocab + info.outputs),
            rank=int(info.rank),
            state_bytes=int(info.state_bytes),
            program_hash=bytes(info.hash[i] for i in range(32)).hex(),
            kernels=info.kernels.decode(),
            compiler=compiler.name,
            context_bytes=int(self._library.snn_host_context_bytes(self._host)),
        )
        self.batch = 1
        self._step = self._library.snn_host_step

    def reset(self, batch: int = 1, threads: int = 1) -> None:
        """``batch`` new sequences, run by at most ``threads`` threads."""
        self._check(self._library.snn_host_reset(self._host, batch, threads))
        self.batch = batch

    def step(self, token: int, logits: int) -> None:
        """One token of the only sequence; ``logits`` is the address of int32 ``[vocab]``, or 0.

        Raises:
            TextError: The token id is outside the vocabulary.
        """
        status = self._step(self._host, token, logits)
        if status:
            self._check(status)

    def steps(self, tokens: UInt32Array) -> Int32Array:
        """One token ``[batch]`` per sequence; logits ``[batch, vocab]``."""
        logits = np.empty((self.batch, self.info.vocab), np.int32)
        self._check(self._library.snn_host_steps(self._host, tokens.ctypes.data, logits.ctypes.data))
        return logits

    def run(self, ids: UInt32Array) -> None:
        """Tokens ``[batch, length]``, for `top` afterwards: no logits are made."""
        self._check(self._library.snn_host_prefill(self._host, ids.ctypes.data, ids.shape[1], None))

    def greedy(self, token: int, count: int, end: int) -> UInt32Array:
        """Continue the only sequence with ``token`` and the best tokens after it.

        Args:
            token: What the context has not seen yet.
            count: Tokens to make, at most.
            end: A token that is the last where it comes; one outside the vocabulary for none.

        Returns:
            The tokens made ``[<= count]``; the context has seen all but the last.
        """
        ids, made = np.empty(count, np.uint32), _U32()
        self._check(
            self._library.snn_host_greedy(self._host, token, count, end, ids.ctypes.data, ctypes.byref(made))
        )
        return ids[: made.value]

    def prefill(self, ids: UInt32Array) -> Int32Array:
        """Tokens ``[batch, length]``; logits of the last ``[batch, vocab]``."""
        logits = np.empty((self.batch, self.info.vocab), np.int32)
        address = logits.ctypes.data
        self._check(self._library.snn_host_prefill(self._host, ids.ctypes.data, ids.shape[1], address))
        return logits

    def sequence(self, ids: UInt32Array) -> Int32Array:
        """Tokens ``[batch, length]``; logits ``[batch, length, vocab]``."""
        logits = np.empty((*ids.shape, self.info.vocab), np.int32)
        address = logits.ctypes.data
        self._check(self._library.snn_host_sequence(self._host, ids.ctypes.data, ids.shape[1], address))
        return logits

    def frames(self, frames: npt.NDArray[np.int8], *, every: bool) -> Int32Array:
        """Frames ``[batch, length, inputs]``, contiguous.

        Args:
            frames: The frames.
            every: Whether the outputs of all frames come back, or of the last one.

        Returns:
            Outputs ``[batch, length, outputs]`` or ``[batch, outputs]``.
        """
        length = frames.shape[1]
        shape = (self.batch, length, self.info.outputs) if every else (self.batch, self.info.outputs)
        out = np.empty(shape, np.int32)
        address = frames.__array_interface__["data"][0]
        self._check(
            self._library.snn_host_frames(
                self._host, address, length, out.__array_interface__["data"][0], every
            )
        )
        return out

    def frames_window(
        self, frames: npt.NDArray[np.int8], repeat: int, warmup: int
    ) -> tuple[npt.NDArray[np.uint64], Int32Array]:
        """Timed passes in C: stamps in ns ``[n, 2]`` and outputs ``[n, outputs]``, n = repeat * length."""
        total = len(frames) * repeat
        stamps, out = np.empty((total, 2), np.uint64), np.empty((total, self.info.outputs), np.int32)
        self._check(
            self._library.snn_host_frames_window(
                self._host,
                frames.ctypes.data,
                len(frames),
                repeat,
                warmup,
                stamps.ctypes.data,
                out.ctypes.data,
            )
        )
        return stamps, out

    def top(self, k: int, sequence: int = 0) -> tuple[UInt32Array, Int32Array]:
        """The k best tokens after the last one, best first: ids and integer logits, both ``[k]``."""
        ids, values = np.empty(k, np.uint32), np.empty(k, np.int32)
        self._check(self._library.snn_host_top(self._host, sequence, k, ids.ctypes.data, values.ctypes.data))
        return ids, values

    def two_pass(self, wanted: bool | None = None) -> bool:
        """Whether `top` reads a rough copy of the table first, which gives the same tokens.

        Args:
            wanted: On or off; None for what a probe of a millisecond finds faster, as at the start.

        Returns:
            What holds now: False where the kernels have no such pass.
        """
        return bool(self._library.snn_host_two_pass(self._host, -1 if wanted is None else wanted))

    def save(self, sequence: int = 0, *, oldest_first: bool = False) -> tuple[npt.NDArray[np.int8], int]:
        """State tensors of one sequence one after another, int8, and n (see `edgesnn.program.state`)."""
        state, position = np.empty(self.info.state_bytes, np.int8), _U64()
        self._check(
            self._library.snn_host_save(
                self._host, sequence, oldest_first, state.ctypes.data, ctypes.byref(position)
            )
        )
        return state, int(position.value)

    def restore(self, state: npt.NDArray[np.int8], position: int, sequence: int = 0) -> None:
        """Continue from what `save` gave."""
        if state.dtype != np.int8 or state.shape != (self.info.state_bytes,):
            raise RunnerError(
                "a saved state of another program", actual=state.shape, limit=(self.info.state_bytes,)
            )
        flat = np.ascontiguousarray(state)
        self._check(self._library.snn_host_restore(self._host, sequence, flat.ctypes.data, position))

    def window(
        self, tokens: UInt32Array, repeat: int, warmup: int
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int8]]:
        """Timed passes in C: stamps in ns ``[repeat * length, 2]`` and readout codes ``[.., rank]``."""
        total = len(tokens) * repeat
        stamps, codes = np.empty((total, 2), np.uint64), np.empty((total, self.info.rank), np.int8)
        logits = np.empty(self.info.vocab, np.int32)
        self._check(
            self._library.snn_host_window(
                self._host,
                tokens.ctypes.data,
                len(tokens),
                repeat,
                warmup,
                logits.ctypes.data,
                stamps.ctypes.data,
                codes.ctypes.data,
            )
        )
        return stamps, codes

    def logits_of(self, codes: npt.NDArray[np.int8], logits: Int32Array) -> None:
        """Logits int32 ``[vocab]`` of readout codes that a window kept, into ``logits``."""
        self._check(self._library.snn_host_logits_of(self._host, codes.ctypes.data, logits.ctypes.data))

    def close(self) -> None:
        """Free all memory; safe to call twice."""
        if self._host is not None:
            self._library.snn_host_close(self._host)
            self._host = None

    def __del__(self) -> None:
        if getattr(self, "_host", None) is not None:
            self.close()

    def _check(self, status: int) -> None:
        if status == 0:
            return
        name = self._library.snn_status_name(status).decode()
        if name == _TOKEN:
            limit = f"0..{self.info.vocab - 1}"
            raise TextError(f"token id outside the vocabulary ({name})", limit=limit)
        if name in _OWN:
            raise RunnerError(f"the native engine refused a call: {name}")
        raise ProgramFormatError(
            f"the native engine refused program.snn: {name}", remedy="export the student again"
        )
