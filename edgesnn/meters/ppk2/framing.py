"""Bytes into samples: where words begin, which are missing, which cannot be trusted.

The PPK2's stream has no mark between samples and no checksum. All there is to go by is the 6-bit counter
in every word. While it runs on by one the framing is right. Where it does not, the bytes after that place
are searched, at all four byte phases, for the next stretch whose counter runs on: at phase 0 and at once
it was a gap; at another phase bytes were lost or came twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgesnn.meters.ppk2.protocol import COUNTER_MASK, COUNTER_SHIFT, SAMPLE_BYTES

WordArray = npt.NDArray[np.uint32]
BoolArray = npt.NDArray[np.bool_]

#: So many words with a counter that runs on prove a phase. A USB packet holds 16 words, so that a stream
#: that loses every other packet can still be read; by chance 12 such words come once in 64**11.
RUN_WORDS = 12
#: A phase is chosen when this much can be looked at (0.64 ms); two phases are told apart by their runs.
LOOK_WORDS = 64
#: Samples on either side of a break that are suspect: as many words of a slipped stream may pass a break
#: unseen (one in 64 has the right counter by chance), and they are held back until their successors came.
GUARD_WORDS = 4
#: At most this much is searched at once.
SEARCH_BYTES = 1 << 14
#: After a loss of framing up to this many samples are taken for repeated; a counter that is further behind,
#: or a step back without a loss of framing, is taken for lost samples: these happen on USB, those do not.
REPEATED_SAMPLES = 8


@dataclass(frozen=True, slots=True, eq=False)
class WordRun:
    """Words without a gap between them.

    Attributes:
        words: The samples as they came, uint32 ``[n]``.
        missing: Samples that are missing before the first of them.
        suspect: Which of them must not be trusted, bool ``[n]``.
    """

    words: WordArray
    missing: int
    suspect: BoolArray


class Framer:
    """Cuts a stream into words.

    Attributes:
        discarded: Bytes that belonged to no sample so far.
        lost_bytes: Bytes in a row that could not be read, up to now; 0 while the framing is right.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._last: int | None = None
        self._missing = 0
        self._guard = 0
        self._reasons: list[str] = []
        self.discarded = 0
        self.lost_bytes = 0

    @property
    def waiting_samples(self) -> int:
        """Samples that came, or are known to be missing, and were not handed out yet."""
        return self._missing + (self.lost_bytes + len(self._rest)) // SAMPLE_BYTES

    def drain_reasons(self) -> list[str]:
        """What happened since the last call, one clause each."""
        reasons, self._reasons = self._reasons, []
        return reasons

    def feed(self, data: bytes, *, final: bool = False) -> list[WordRun]:
        """Take bytes and hand out the samples that they complete.

        Args:
            data: What came.
            final: Whether nothing more will come: nothing is held back then.
        """
        buffer = self._rest + data
        at = 0
        runs: list[WordRun] = []
        while True:
            words = np.frombuffer(buffer, "<u4", (len(buffer) - at) // SAMPLE_BYTES, at)
            good = self._good(words)
            if good == words.size:
                keep = good if final else max(good - GUARD_WORDS, 0)
                self._hand_out(runs, words[:keep])
                at += keep * SAMPLE_BYTES
                break
            self._hand_out(runs, words[:good], tail=GUARD_WORDS)
            at += good * SAMPLE_BYTES
            found = self._search(buffer, at, final)
            if found is None:
                break
            skipped, counter = found
            if counter is None:
                self.lost_bytes += skipped
                self.discarded += skipped
            else:
                junk = np.frombuffer(buffer, "<u4", skipped // SAMPLE_BYTES, at)
                skipped += self._bridge(runs, junk, skipped, counter)
            at += skipped
        self._rest = b"" if final else buffer[at:]
        if final:
            self.discarded += len(buffer) - at
        return runs

    def _good(self, words: WordArray) -> int:
        """How many words at the beginning continue the counter."""
        if self._last is None or self.lost_bytes or words.size == 0:
            return 0
        counters = (words >> COUNTER_SHIFT) & COUNTER_MASK
        expected = np.arange(self._last + 1, self._last + 1 + words.size) & COUNTER_MASK
        wrong = counters != expected
        first = int(wrong.argmax())
        return first if wrong[first] else words.size

    def _hand_out(self, runs: list[WordRun], words: WordArray, tail: int = 0, *, junk: bool = False) -> None:
        """Add words to the result, with its guarded ends marked."""
        if words.size == 0:
            return
        suspect = np.full(words.size, junk, np.bool_)
        suspect[: self._guard] = True
        self._guard = max(self._guard - words.size, 0)
        if tail:
            suspect[-tail:] = True
        self._last = int(words[-1] >> COUNTER_SHIFT) & COUNTER_MASK
        runs.append(WordRun(words, self._missing, suspect))
        self._missing = 0

    def _search(self, buffer: bytes, at: int, final: bool) -> tuple[int, int | None] | None:
        """Where the counter runs on again.

        Returns:
            Bytes to skip and the counter found there; or bytes to give up and None; or None when more must
            come first.
        """
        look = (LOOK_WORDS + 1) * SAMPLE_BYTES
        if not final and len(buffer) - at < look:
            return None
        for size in (look, SEARCH_BYTES):
            data = buffer[at : at + size]
            phases = [_first_run(data, phase) for phase in range(SAMPLE_BYTES)]
            found = [one for one in phases if one is not None]
            if found:
                _, skipped, counter = min(found)
                return skipped, counter
        # the last words may be the beginning of a run
        give_up = len(data) if final else len(data) - RUN_WORDS * SAMPLE_BYTES
        return (give_up, None) if give_up > 0 else None

    def _bridge(self, runs: list[WordRun], junk: WordArray, skipped: int, counter: int) -> int:
        """Account for what lies between the last good word and the next, whose counter is known.

        Returns:
            Further bytes to skip, because they are samples that came before.
        """
        total, self.lost_bytes = self.lost_bytes + skipped, 0
        last, self._last = self._last, (counter - 1) & COUNTER_MASK
        if last is None:
            self.discarded += skipped
            if total:
                self._reasons.append(f"{total} bytes before the first sample were discarded")
            return 0
        between = (counter - last - 1) & COUNTER_MASK
        self._guard = GUARD_WORDS
        words, odd = divmod(total, SAMPLE_BYTES)
        if total == 0:
            self._missing += between
            self._reasons.append(f"the counter jumped, {between} samples are missing")
        elif total == skipped and not odd and words & COUNTER_MASK == between:
            self._hand_out(runs, junk, junk=True)
            self._last, self._guard = (counter - 1) & COUNTER_MASK, GUARD_WORDS
            self._reasons.append(f"the counters of {words} samples were damaged")
        elif words < REPEATED_SAMPLES and (again := -between & COUNTER_MASK) <= REPEATED_SAMPLES:
            self._last = last
            self.discarded += skipped + again * SAMPLE_BYTES
            self._reasons.append(f"the framing was lost over {total} bytes, {again} samples came again")
            return again * SAMPLE_BYTES
        else:
            least = max(words - REPEATED_SAMPLES, 0)
            missing = least + ((between - least) & COUNTER_MASK)
            self._missing += missing
            self.discarded += skipped
            self._reasons.append(f"the framing was lost over {total} bytes, {missing} samples are missing")
        return 0


def _first_run(data: bytes, phase: int) -> tuple[int, int, int] | None:
    """The first stretch of `RUN_WORDS` or more that runs on, at one byte phase.

    Returns:
        Its length (negative, so that the longest sorts first), its byte offset and its first counter.
    """
    words = np.frombuffer(data, "<u4", max(len(data) - phase, 0) // SAMPLE_BYTES, phase)
    counters = ((words >> COUNTER_SHIFT) & COUNTER_MASK).astype(np.int64)
    breaks = np.flatnonzero(((counters[1:] - counters[:-1]) & COUNTER_MASK) != 1) + 1
    edges = np.concatenate([[0], breaks, [counters.size]])
    lengths = np.diff(edges)
    long = np.flatnonzero(lengths >= RUN_WORDS)
    if not long.size:
        return None
    first = int(edges[long[0]])
    return -min(int(lengths[long[0]]), LOOK_WORDS), phase + first * SAMPLE_BYTES, int(counters[first])
