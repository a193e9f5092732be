"""From a program to the network that a chip sees."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgesnn.api.mapping import map_program
from edgesnn.api.network import network_of
from edgesnn.chips.description import load_chip
from edgesnn.profiler.counts.activity import count_activity
from edgesnn.program.ops import LIF, Linear
from edgesnn.program.program import Program
from tests.support.random_program import RandomShape, random_program


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
