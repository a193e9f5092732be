"""What the PPK2's stream shows of its own damage: every sample here carries its place in its marker bits."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesnn.meters.base import SampleStatus
from edgesnn.meters.ppk2.protocol import Metadata, conversion_table
from edgesnn.meters.ppk2.stream import UNDETECTABLE_SAMPLES, SampleStream
from edgesnn.meters.ppk2.twin import CONSTANTS

TABLE = conversion_table(Metadata(CONSTANTS), 3700)
#: What a sample's place looks like in its marker bits.
PLACE = np.random.default_rng(0).integers(0, 256, 1 << 16).astype(np.uint32)


def words(count, first=0, seed=0):
    """Samples of noise around 24 mA."""
    at = np.arange(first, first + count)
    adc = 500 + np.random.default_rng(seed).integers(0, 60, count)
    return (adc | (3 << 14) | ((at & 63) << 18) | (PLACE[at & 0xFFFF] << 24)).astype("<u4")


def feed(data, chunks=(4096,), delays_ms=()):
    """A stream fed in chunks, received as the samples are taken, some later than the others."""
    stream, blocks, at, turn = SampleStream(TABLE), [], 0, 0
    while at < len(data):
        size = chunks[turn % len(chunks)]
        delay = delays_ms[turn % len(delays_ms)] if delays_ms else 0
        at, turn = at + size, turn + 1
        stream.feed(data[at - size : at], min(at, len(data)) * 2500 + round(delay * 1e6) + 10**9)
        blocks.append(stream.take())
    stream.feed(b"", 0, final=True)
    blocks.append(stream.take(anyway=True))
    blocks = [one for one in blocks if one is not None]
    places = np.concatenate([np.round(one.time_s * 1e5).astype(int) for one in blocks])
    return (
        stream.loss,
        places,
        np.concatenate([one.markers for one in blocks]),
        np.concatenate([one.status for one in blocks]),
        sum(one.lost for one in blocks),
    )


def misplaced(places, markers, status):
    """Samples that are not marked and carry another place than that of their time."""
    return np.count_nonzero((PLACE[places & 0xFFFF] != markers) & (status & SampleStatus.SUSPECT == 0))


def test_a_whole_stream_is_whole():
    loss, places, markers, status, lost = feed(words(50_000).tobytes(), (1, 3, 4095, 4097, 64))
    assert (loss.received, loss.missing, loss.suspected, loss.discarded_bytes, loss.reasons) == (
        50_000,
        0,
        0,
        0,
        (),
    )
    assert np.array_equal(places, np.arange(50_000)) and not status.any() and lost == 0
    assert np.array_equal(markers, PLACE[:50_000])


def test_missing_samples_are_a_jump_in_time():
    data = np.concatenate([words(1000), words(1000, 1017)]).tobytes()
    loss, places, markers, status, lost = feed(data)
    assert (loss.received, loss.missing, lost) == (2000, 17, 17) and places[1000] - places[999] == 18
    assert np.flatnonzero(status).tolist() == list(range(996, 1004))  # four on either side
    assert misplaced(places, markers, status) == 0
    assert "17 samples are missing" in loss.reasons[0]


def test_64_missing_samples_do_not_show_and_this_is_said():
    loss, places, *_ = feed(np.concatenate([words(1000), words(1000, 1064)]).tobytes())
    assert (loss.missing, loss.suspected, places[-1]) == (0, 0, 1999)
    assert loss.undetectable == UNDETECTABLE_SAMPLES > 64


def test_1088_missing_samples_show_by_the_clock():
    start, rest = words(20_000), words(60_000, 21_088)
    stream = SampleStream(TABLE)
    blocks = []
    for at in range(0, 80_000, 500):
        piece = start[at : at + 500] if at < 20_000 else rest[at - 20_000 : at - 19_500]
        stream.feed(piece.tobytes(), (at + 500 + (1088 if at >= 20_000 else 0)) * 10_000)
        blocks.append(stream.take())
    blocks = [one for one in blocks if one is not None]
    places = np.concatenate([np.round(one.time_s * 1e5).astype(int) for one in blocks])
    markers = np.concatenate([one.markers for one in blocks])
    status = np.concatenate([one.status for one in blocks])
    assert (stream.loss.suspected, stream.loss.missing) == (1088, 0) and sum(
        one.lost for one in blocks
    ) == 1088
    assert misplaced(places, markers, status) == 0
    jump = int(np.flatnonzero(np.diff(places) != 1)[0])
    assert abs(jump - 20_000) <= 500 and status[jump + 1] & SampleStatus.SUSPECT
    assert not status[-5_000:].any()


def test_a_late_receipt_is_no_loss():
    delays = [0.0] * 50 + [90.0, 60.0, 30.0] + [0.2] * 40
    loss, _, _, status, _ = feed(words(200_000).tobytes(), (8000,), delays)
    assert (loss.suspected, loss.reasons) == (0, ()) and not status.any()


def test_clocks_apart_by_100_ppm_are_no_loss():
    for ppm in (-100, 100):
        stream, data = SampleStream(TABLE), words(2_000_000)
        for at in range(0, data.size, 2000):
            stream.feed(data[at : at + 2000].tobytes(), round((at + 2000) * 10_000 * (1 + ppm * 1e-6)))
            stream.take()
        assert (stream.loss.suspected, stream.loss.reasons, stream.loss.received) == (0, (), 1_999_996)


def test_a_damaged_counter_marks_its_sample_and_loses_none():
    stream = words(2000)
    stream[700] ^= 0x15 << 18
    loss, places, markers, status, _ = feed(stream.tobytes())
    assert (loss.received, loss.missing, loss.discarded_bytes) == (2000, 0, 0)
    assert status[700] & SampleStatus.SUSPECT and np.array_equal(places, np.arange(2000))
    assert "damaged" in loss.reasons[0] and misplaced(places, markers, status) == 0


def test_a_damaged_value_alone_cannot_be_seen():
    # the stream has no checksum: this is the line, and the documentation says so
    stream = words(2000)
    stream[700] ^= 0x1FFF
    loss, _, _, status, _ = feed(stream.tobytes())
    assert (loss.missing, loss.reasons) == (0, ()) and not status.any()


def test_a_range_that_does_not_exist_holds_the_value_before_it():
    stream = words(2000)
    stream[700] = (int(stream[700]) & ~0x1FFFF) | (6 << 14) | 0x3FFF
    built = SampleStream(TABLE)
    built.feed(stream.tobytes(), 0)
    block = built.take()
    assert block.current_a[700] == block.current_a[699] and block.range_index[700] == 3
    assert block.status[700] == SampleStatus.SUSPECT and not block.status[701:].any()


def test_after_lost_bytes_the_framing_is_found_again():
    for count in range(1, 12):
        data = words(4000).tobytes()
        loss, places, markers, status, _ = feed(data[:4002] + data[4002 + count :], (512,))
        assert misplaced(places, markers, status) == 0
        assert places[-1] == 3999 and loss.received + loss.missing == 4000
        assert np.count_nonzero(status) <= 12
        assert loss.discarded_bytes == (0 if count % 4 == 0 else -count % 4)


def test_after_repeated_bytes_the_framing_is_found_again():
    for count in (1, 2, 3, 5, 7, 11):
        data = words(4000).tobytes()
        loss, places, markers, status, _ = feed(data[:4002] + data[4002 - count :], (512,))
        assert misplaced(places, markers, status) == 0
        assert places[-1] == 3999 and "came again" in loss.reasons[0]


def test_noise_is_discarded_until_the_stream_comes_back():
    noise = np.random.default_rng(5).integers(0, 256, 40_001).astype(np.uint8).tobytes()
    data = words(4000).tobytes() + noise + words(60_000, 14_000).tobytes()
    loss, places, markers, status, _ = feed(data, (997,))
    assert loss.discarded_bytes >= 40_000 and places[-1] == 73_999
    assert misplaced(places, markers, status) == 0


def test_a_stream_that_loses_every_other_packet_is_still_read():
    stream = words(32_000).reshape(-1, 16)[::2].reshape(-1)
    loss, places, markers, _, _ = feed(stream.tobytes(), (4096,))
    assert loss.received == 16_000 and loss.missing == 15_984
    assert np.array_equal(PLACE[places], markers)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["samples", "packets", "bytes", "again", "noise", "counter"]),
        st.integers(1, 63),
        st.integers(100, 3800),
    ),
    max_size=4,
)


@given(
    EVENTS, st.lists(st.integers(200, 3000), min_size=1, max_size=5), st.lists(st.floats(0, 7), max_size=5)
)
@settings(max_examples=600)
def test_whatever_happens_to_the_bytes_an_unmarked_sample_is_at_its_time(events, chunks, delays):
    """Framing, loss and timing; the payload of a sample is left alone, except where its framing is lost."""
    stream = [words(4000, seed=len(events)).tobytes()]
    events = sorted(events, key=lambda event: -event[2])
    apart = all(one[2] - two[2] > 150 for one, two in zip(events, events[1:], strict=False))
    for kind, amount, at in events if apart else events[:1]:
        head, tail = stream[0][: at * 4], stream.pop(0)[at * 4 :]
        if kind == "samples":
            tail = tail[amount * 4 :]
        elif kind == "packets":
            tail = tail[amount % 4 * 64 :]
        elif kind == "bytes":
            head, tail = head + tail[:2], tail[2 + amount :]
        elif kind == "again":
            head += tail[:2] + tail[: amount % 31 | 1]
            tail = tail[2:]
        elif kind == "noise":
            noise = np.random.default_rng(amount).integers(0, 256, len(tail[: amount * 4])).astype(np.uint8)
            head, tail = head + noise.tobytes(), tail[amount * 4 :]
        elif tail:
            tail = tail[:2] + bytes([tail[2] ^ (amount << 2)]) + tail[3:]
        stream.append(head + tail)
    loss, places, markers, status, lost = feed(stream[0], chunks, delays)
    good = status & SampleStatus.SUSPECT == 0
    # Bytes that come again can look like samples that were lost: then the rest is 64 samples late, and the
    # account says that samples are missing. Everything else leaves every unmarked sample where it belongs.
    repeated = sum(kind == "again" for kind, *_ in events)
    right = np.zeros(places.size, np.bool_)
    for turns in range(repeated + 1):
        right |= PLACE[(places - 64 * turns) & 0xFFFF] == markers
    assert np.all(right[good])
    assert np.all(np.diff(places) >= 1)
    assert lost == loss.missing and loss.received == places.size
    if np.any(np.diff(places) != 1):
        assert loss.missing and loss.reasons
    assert np.count_nonzero(~good) <= 140 * max(len(events), 1)


@given(st.integers(17, 400), st.integers(10_000, 40_000), st.lists(st.floats(0, 1.5), min_size=3, max_size=9))
@settings(max_examples=60)
def test_a_long_loss_is_found_by_the_clock_whatever_its_length(packets, at, delays):
    lost = packets * 64
    taken = np.concatenate([np.arange(at), np.arange(at + lost, at + lost + 60_000)])
    data = np.concatenate([words(at), words(60_000, at + lost)])
    stream, blocks = SampleStream(TABLE), []
    for turn, start in enumerate(range(0, data.size, 1500)):
        piece = data[start : start + 1500]
        received = (int(taken[start + piece.size - 1]) + 1) * 10_000
        stream.feed(piece.tobytes(), received + round(delays[turn % len(delays)] * 1e6))
        blocks.append(stream.take())
    blocks = [one for one in blocks if one is not None]
    places = np.concatenate([np.round(one.time_s * 1e5).astype(int) for one in blocks])
    markers = np.concatenate([one.markers for one in blocks])
    status = np.concatenate([one.status for one in blocks])
    assert abs(stream.loss.suspected - lost) <= 128  # what is left is below the stated bound
    # the clock cannot tell 64 samples from its own unrest: the rest may be off by so much
    shift = lost - stream.loss.suspected
    good = status & SampleStatus.SUSPECT == 0
    late = good & (places > at + lost // 2)
    assert np.all(PLACE[places[good & ~late] & 0xFFFF] == markers[good & ~late])
    assert np.all(PLACE[(places[late] + shift) & 0xFFFF] == markers[late])
