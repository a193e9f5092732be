"""The stream of the INA228 bridge by itself: turns of its timer, doubtful frames, lost edges."""

import numpy as np

from edgesnn.meters.base import SampleStatus
from edgesnn.meters.ina228.protocol import RECORD, Channel, Mark
from edgesnn.meters.ina228.stream import REASONS_MAX, TURN_US, Ina228Stream

PERIOD_US = 590


def records(first_us, count=10, step_us=PERIOD_US, **values):
    made = np.zeros(count, RECORD)
    made["t_us"] = (first_us + step_us * np.arange(count)) % TURN_US
    for name, value in values.items():
        made[name] = value
    return made


def begun(zero_us=1000):
    stream = Ina228Stream(Channel(True, 1, 0, 4, 0, 1573), 0)
    stream.mark(Mark(zero_us, 0, 7), 0.0)
    return stream


def taken(stream):
    return stream.take(0, all_of_them=True)


def test_after_lost_frames_the_hosts_clock_says_which_turn_the_timer_is_in():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US), 0.01)
    hours_s = 3 * TURN_US / 1e6 + 100
    stream.data(5, records(1000 + 100_000_000), hours_s)
    times = taken(stream).time_s
    assert abs(times[-1] - hours_s) < 0.01
    assert stream.loss.missing == round((hours_s - 0.01) * 1e6 / PERIOD_US) or stream.loss.missing > 2e7


def test_a_frame_that_waited_for_hours_in_a_buffer_keeps_its_time():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US), 0.01)
    stream.data(1, records(1000 + 11 * PERIOD_US), 10_000.0)
    assert taken(stream).time_s[-1] < 0.02
    assert stream.loss.missing == 0


def test_one_frame_from_the_future_is_thrown_away_and_two_that_agree_are_taken():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US), 0.01)
    stream.data(1, records(1000 + 60_000_000), 0.02)
    stream.data(1, records(1000 + 11 * PERIOD_US), 0.02)
    assert len(taken(stream)) == 20
    assert "from the future" in stream.loss.reasons[0]
    stream.data(2, records(1000 + 90_000_000), 0.03)
    stream.data(3, records(1000 + 90_000_000 + 10 * PERIOD_US), 0.04)
    block = taken(stream)
    assert len(block) == 20
    assert block.lost == stream.loss.missing > 150_000


def test_a_frame_that_came_twice_is_counted_once():
    stream = begun()
    for _ in range(2):
        stream.data(0, records(1000 + PERIOD_US), 0.01)
    assert stream.loss.received == 10
    assert stream.loss.discarded_bytes == 10 * RECORD.itemsize
    assert stream.loss.reasons == ("a frame came twice",)


def test_a_frame_with_impossible_registers_is_thrown_away_although_its_crc_was_right():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US, current=1 << 24), 0.01)
    assert stream.take(0) is None
    assert stream.loss.discarded_bytes > 0


def test_lost_edges_make_the_samples_since_the_last_known_edge_suspect():
    stream = begun()
    stream.mark(Mark(1000 + 3000, 1, 8), 0.01)
    stream.data(0, records(1000 + PERIOD_US, 20), 0.02)
    stream.mark(Mark(1000 + 10000, 1, 10), 0.02)
    stream.mark(Mark(1000 + 20 * PERIOD_US, 1, 10, state=True), 0.02)
    block = stream.take(0)
    suspect = (block.status & SampleStatus.SUSPECT) != 0
    ends = block.time_s + block.duration_s
    assert np.array_equal(suspect, (ends > 0.003) & (block.time_s < 0.010))
    assert "1 edges of the sync input are missing" in stream.loss.reasons[0]


def test_the_state_behind_a_frame_finds_an_edge_that_was_lost():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US, 20), 0.02)
    assert stream.take(0) is None
    stream.mark(Mark(1000 + 20 * PERIOD_US, 1, 8, state=True), 0.02)
    assert (stream.take(0).status == SampleStatus.SUSPECT).all()
    stream.data(1, records(1000 + 21 * PERIOD_US, 20), 0.03)
    stream.mark(Mark(1000 + 40 * PERIOD_US, 1, 8, state=True), 0.03)
    block = stream.take(0)
    assert not block.status[1:].any()
    assert (block.markers == 1).all()


def test_samples_whose_state_never_came_are_handed_out_as_suspect_at_the_deadline():
    stream = begun()
    stream.data(0, records(1000 + PERIOD_US, 20), 0.02)
    assert (stream.take(0, all_of_them=True).status == SampleStatus.SUSPECT).all()


def test_a_bad_cable_fills_no_memory_with_reasons():
    stream = begun()
    for _ in range(5 * REASONS_MAX):
        stream.data(0, records(1000 + PERIOD_US, current=1 << 24), 0.01)
    assert len(stream.loss.reasons) == REASONS_MAX + 1
    assert stream.loss.reasons[-1] == f"and {4 * REASONS_MAX} more events of these kinds"
