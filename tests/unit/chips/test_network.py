"""From a program to the network that a chip sees."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.api.mapping import map_program
from edgesnn.api.network import network_of
from edgesnn.chips.description import load_chip
from edgesnn.chips.fit import fit
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.program.ops import LIF, Linear
from edgesnn.program.ops_frames import Conv, StatefulLIF
from edgesnn.program.program import Program
from tests.support.frame_programs import random_frames_program
from tests.support.random_program import RandomShape, random_program
from tests.support.wake_networks import maps_program


@pytest.fixture(scope="module")
def program():
    return random_program(RandomShape(depth=2))


def by_name(network):
    return {population.name: population for population in network.populations}


def test_with_graded_messages_every_weight_stands_on_a_core_once(program):
    network = network_of(program, message_bits=32)
    populations = by_name(network)
    weights = sum(op.weight.size for op in program.all(Linear))
    weights += program.readout.weight.size + program.readout.table.size
    dense = sum(f.fan_in * p.neurons for p in network.populations for f in p.feeds if f.dense)
    assert dense == weights
    assert populations["readout.table"].neurons == 257
    assert populations["embed"].feeds == ()
    # the second sum hears the first one to one and its own matrix densely
    feeds = populations["blocks.0.mlp.add"].feeds
    assert [(f.source, f.fan_in, f.dense) for f in feeds] == [
        ("blocks.0.attn.add", 1, False),
        ("blocks.0.mlp.up_lif", 48, True),
    ]


def test_with_plain_spikes_every_reader_of_the_stream_has_all_its_writers(program):
    network = network_of(program, message_bits=1)
    populations = by_name(network)
    assert {population.kind for population in network.populations} == {"lif"}
    assert len(populations) == sum(1 for _ in program.all(LIF))
    assert populations["blocks.0.attn.in"].fan_in == 0
    last = populations["readout.lif"]
    assert [f.source for f in last.feeds] == [
        "blocks.0.attn.out_lif",
        "blocks.0.mlp.up_lif",
        "blocks.1.attn.out_lif",
        "blocks.1.mlp.up_lif",
    ]
    assert last.fan_in == 2 * (32 + 48)
    assert len(network.host) == 2 and "readout" in network.host[1]


def test_the_energy_charges_every_weight_that_was_placed(program):
    """One truth: with dense activity, operations per timestep are the synapses of the placement."""
    activity = count_activity(program, np.arange(6) % program.vocab_size)
    chip = load_chip("loihi1")
    mapping = map_program(program, chip, activity, "a text")
    readers = Counter(
        feed.op
        for population in network_of(program, 1).populations
        for feed in population.feeds
        if feed.dense
    )
    assert set(readers) == {op.name for op in program.all(Linear)} and max(readers.values()) > 1
    counted = sum(readers[one.op] * one.effective_total for one in activity.ops if one.kind == "linear")
    assert counted > activity.work.linear_effective
    pj = mapping.energy_uj["synaptic operations"] * activity.work.tokens * 1e6
    assert pj == pytest.approx(counted * chip.energy_pj.synaptic_operation.value)
    assert sum(mapping.energy_high_uj.values()) > sum(mapping.energy_uj.values())
    placed = {population.name: population.synapses for population in network_of(program, 1).populations}
    dense = sum(readers[op.name] * op.weight.size for op in program.all(Linear))
    assert sum(placed.values()) == dense + sum(
        feed.fan_in * population.neurons
        for population in network_of(program, 1).populations
        for feed in population.feeds
        if not feed.dense
    )


def test_shifted_channels_arrive_a_token_late_and_attention_is_apart(program):
    network = network_of(program, message_bits=32)
    populations = by_name(network)
    assert [feed.delayed for feed in populations["blocks.0.attn.qkv_lif"].feeds] == [16]
    assert [attention.name for attention in network.attentions] == [
        "blocks.0.attn.attend",
        "blocks.1.attn.attend",
    ]
    assert network.attentions[0].source == "blocks.0.attn.qkv_lif"
    assert populations["blocks.0.attn.out_lif"].feeds[0].source == "blocks.0.attn.attend"


def test_a_clipped_sum_has_no_form_in_plain_spikes():
    program = random_program(RandomShape(depth=1, saturate=True))
    assert network_of(program, 32).obstacles == ()
    assert len(network_of(program, 1).obstacles) == 2


def test_a_lif_off_the_stock_grid_is_said_to_be(program):
    def on_grid(op):
        if not isinstance(op, LIF):
            return op
        return replace(op, threshold=op.threshold // 64 * 64 + 64, bias=op.bias * 0)

    stock = Program(program.timesteps, tuple(on_grid(op) for op in program.ops))
    lifs = [p for p in network_of(stock, 32).populations if p.kind == "lif"]
    assert all(p.stock for p in lifs)
    assert not any(p.stock for p in network_of(program, 32).populations if p.kind == "lif")
    assert {p.stock for p in network_of(stock, 32).populations if p.kind != "lif"} == {None}


def test_a_small_program_fits_loihi_2_and_not_loihi_1(program):
    assert map_program(program, load_chip("loihi2")).fit.fits
    found = map_program(program, load_chip("loihi1"))
    assert {v.where for v in found.fit.violations} >= {"blocks.0.attn.attend", "blocks.1.attn.attend"}
    assert found.energy_uj is None and "not counted" in found.energy_reason


def test_a_convolution_of_frames_is_a_window_of_synapses_at_every_neuron():
    network = network_of(maps_program(), 32)
    maps, last = network.populations
    assert (maps.neurons, maps.fan_in, maps.synapses) == (48, 2 * 3 * 3, 48 * 18)
    # behind a pool of 2 x 2 every weight stands at four inputs, and each of them is a synapse of its own
    assert (last.neurons, last.fan_in) == (2, 12 * 4)
    assert [feed.source_neurons for feed in (*maps.feeds, *last.feeds)] == [32, 48]
    assert network.obstacles == () and network.attentions == ()


def test_a_core_that_shares_weights_keeps_a_kernel_once(make_chip):
    network = network_of(maps_program(), 32)
    bytes_of = {}
    for shared in (True, False):
        part = fit(network, make_chip(shared_weights=shared)).populations[0]
        bytes_of[shared] = part.synapse_bytes
    assert bytes_of == {True: 3 * 2 * 3 * 3, False: 48 * 18}
    assert fit(network, make_chip(shared_weights=None)).populations[0].synapse_bytes == 48 * 18


def test_kernels_are_kept_on_every_core_that_holds_some_of_the_neurons(make_chip):
    part = fit(network_of(maps_program(), 32), make_chip(neurons_per_core=20)).populations[0]
    assert part.cores == 3
    assert part.synapse_bytes == 3 * (3 * 2 * 3 * 3)


def test_samples_are_no_plain_spikes():
    program = random_frames_program(1)
    first = replace(program.ops[0], low=-127, high=127)
    network = network_of(Program(1, (first, *program.ops[1:])), 1)
    assert any("8 bits, a message has 1" in obstacle for obstacle in network.obstacles)


def test_every_operation_of_frames_has_its_place():
    for seed in range(20):
        program = random_frames_program(seed)
        network = network_of(program, 32)
        assert network.neurons == sum(program.channels()[op.out] for op in program.all(StatefulLIF))
        effective = {op.name: 1 for op in (*program.all(Linear), *program.all(Conv))}
        assert network.placed_operations(effective) == len(effective)
