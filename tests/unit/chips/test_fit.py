"""Networks made by hand against limits set by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgesnn.chips.description import load_chip
from edgesnn.chips.fit import fit
from edgesnn.chips.network import Attention, Feed, Population
from edgesnn.chips.placement import place


def test_a_population_is_cut_where_the_weight_memory_of_a_core_is_full(make_chip, parts):
    source = parts.population("a", 100)
    target = parts.population("b", 250, parts.dense("a", 100))
    chip = make_chip(synapse_bytes_per_core=10_000)
    found = fit(parts.network(source, target), chip)
    assert found.fits
    # 100 neurons of b fill a core: 100 bytes each
    assert (found.cores, found.neurons, found.synapses) == (3, 350, 25_000)
    use = {one.what: one for one in found.usage}
    assert use["synapse bytes"].largest == 10_000
    assert use["synapse bytes"].total == 25_000
    assert use["axons in"].largest == 100
    # every neuron of a reaches three cores
    assert use["axons out"].largest == 300


def test_a_population_is_cut_where_a_core_has_no_neuron_left(make_chip, parts):
    chip = make_chip(neurons_per_core=64)
    cores, homeless = place([parts.population("a", 100), parts.population("b", 20)], chip.limits)
    assert homeless == []
    assert [[(s.population, s.first, s.count) for s in core.slices] for core in cores] == [
        [("a", 0, 64)],
        [("a", 64, 36), ("b", 0, 20)],
    ]


def test_a_source_heard_by_two_populations_of_a_core_takes_its_axons_once(make_chip, parts):
    a = parts.population("a", 40)
    b, c = (parts.population(name, 10, parts.dense("a", 40)) for name in "bc")
    (core,), _ = place([a, b, c], make_chip().limits)
    assert core.axons_in == 40
    assert core.axons_out == 40


def test_one_to_one_reaches_only_the_core_of_the_same_neuron(make_chip, parts):
    a, b = parts.population("a", 60), parts.population("b", 60, parts.single("a", 60))
    cores, _ = place([a, b], make_chip(neurons_per_core=40).limits)
    # cores: a 0-39 | a 40-59, b 0-19 | b 20-59
    assert [core.axons_in for core in cores] == [0, 20, 40]
    # a 0-19 reach core 1, a 20-39 core 2, a 40-59 core 2
    assert [core.axons_out for core in cores] == [40, 20, 0]


def test_a_residual_stream_that_turns_dense_is_not_counted_twice(make_chip, parts):
    a = parts.population("a", 30)
    single = parts.population("b", 30, parts.single("a", 30))
    dense = parts.population("c", 5, parts.dense("a", 30))
    (core,), _ = place([a, single, dense], make_chip().limits)
    assert core.axons_in == 30


def test_every_violation_is_named_at_once_with_value_and_limit(make_chip, parts):
    chip = make_chip(
        neurons_per_core=10,
        cores_per_chip=2,
        axons_in_per_core=50,
        axons_out_per_core=9,
        synapses_per_chip=1000,
        synapse_bytes_per_core=60,
        weight_bits=4,
        message_bits=1,
        programmable_neurons=False,
    )
    network = parts.network(
        parts.population("wide", 60, kind="residual", bits=18),
        parts.population("fine", 40, stock=False),
        parts.population("fed", 20, parts.dense("wide", 60), parts.dense("fine", 40)),
        parts.population("small", 2, parts.dense("fine", 40)),
        attentions=[Attention("attend", "fine", 4, (3, 5), 2)],
        obstacles=["'x' clips a sum"],
    )
    found = fit(network, chip)
    assert not found.fits
    seen = {(v.where, v.what): (v.actual, v.limit) for v in found.violations}
    assert len(seen) == len(found.violations)
    assert seen["wide", "bits of a message"] == ("18", "1")
    assert seen["wide", "bits of a weight"] == ("8", "4")
    assert seen["fed", "axons into the core of one neuron"] == ("100", "50")
    assert seen["fed", "bytes of synapses of one neuron"] == ("100", "60")
    assert seen["chip", "synapses"] == ("2,080", "1,000")
    assert seen["attend", "attention needs programmable neurons or fast weights"][0] == "64 states"
    assert seen["fine", "thresholds or biases that a stock neuron cannot hold"][0] == "finer than its grid"
    assert seen["network", "a form that the chip cannot express"][0] == "'x' clips a sum"
    cores = next(actual for (where, what), (actual, _) in seen.items() if (where, what) == ("chip", "cores"))
    # 60 + 40 + 2 neurons at 10 a core, 'small' one neuron a core (40 of 60 bytes); attention 136 bytes at 60
    assert cores == "15 (12 for populations, 3 for attention)"
    assert any(what == "axons out" for _, what in seen)
    assert "limit 1,000" in next(v for v in found.violations if v.what == "synapses").sentence()


def test_attention_holds_head_dim_squared_states_per_head_and_timestep():
    attention = Attention("attend", "qkv", 64, (8, 32, 128, 256), 4)
    assert attention.states == 65_536
    assert attention.channels == 256
    assert attention.ring_bits == 2 * 4 * 64 * (7 + 31 + 127 + 255)
    assert attention.state_bytes == 2 * 65_536 + attention.ring_bits // 8
    assert Attention("long", "qkv", 1, (70_000,), 1).state_bytes == 4 + (2 * 69_999 + 7) // 8


@given(
    sizes=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    dense=st.lists(st.booleans(), min_size=6, max_size=6),
    neurons=st.integers(5, 200),
    memory=st.integers(300, 5000),
    axons=st.integers(300, 2000),
)
def test_placing_keeps_every_limit_and_every_neuron_once(sizes, dense, neurons, memory, axons):
    populations = []
    for number, size in enumerate(sizes):
        feeds = ()
        if number:
            source = f"p{number - 1}"
            full = dense[number]
            feeds = (Feed(source, sizes[number - 1] if full else 1, sizes[number - 1], full),)
            size = size if full else sizes[number - 1]  # noqa: PLW2901 - one to one needs equal sizes
            sizes[number] = size
        populations.append(Population(f"p{number}", "lif", size, feeds, 1, 8, True))
    chip = load_chip("loihi2")
    limits = chip.limits.model_copy(
        update={
            "neurons_per_core": chip.limits.neurons_per_core.model_copy(update={"value": neurons}),
            "synapse_bytes_per_core": chip.limits.synapse_bytes_per_core.model_copy(update={"value": memory}),
            "axons_in_per_core": chip.limits.axons_in_per_core.model_copy(update={"value": axons}),
        }
    )
    cores, homeless = place(populations, limits)
    assert homeless == []
    for population in populations:
        slices = [s for core in cores for s in core.slices if s.population == population.name]
        assert [s.first for s in slices] == [sum(s.count for s in slices[:n]) for n in range(len(slices))]
        assert sum(s.count for s in slices) == population.neurons
    for core in cores:
        assert core.neurons <= neurons and core.synapse_bits <= 8 * memory and core.axons_in <= axons
    assert sum(core.synapse_bits for core in cores) == 8 * sum(p.synapses for p in populations)


@pytest.mark.parametrize("name", ["loihi1", "loihi2"])
def test_an_empty_network_fits(name, parts):
    found = fit(parts.network(), load_chip(name))
    assert found.fits and (found.cores, found.synapses) == (0, 0)
