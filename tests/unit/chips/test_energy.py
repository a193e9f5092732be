"""The three estimates against sums made by hand."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from edgesnn.chips.description import load_chip
from edgesnn.chips.energy import (
    chip_energy,
    dense_bits,
    estimate_energy,
    load_energy_table,
    spike_rate_statement,
)
from edgesnn.chips.sourced import EnergyRange
from edgesnn.chips.work import WorkTotals

#: One token of a network whose every count is a round number.
WORK = WorkTotals(
    tokens=1,
    timesteps=4,
    neurons=100,
    spikes=40,
    membrane_updates=300,
    linear_effective=1000,
    linear_dense=40_000,
    linear_weight_bytes=2000,
    attend_effective=100,
    attend_dense=800,
    attend_bits_read=160,
    attend_bits_dense=800,
    attend_bits_written=80,
    multiply_effective=500,
    multiply_dense=600,
    multiply_weight_bytes=550,
    lookup_bytes=10,
    residual_adds=400,
    shift_bits=40,
)


@pytest.fixture(scope="module")
def table():
    return load_energy_table()


def parts_pj(estimate):
    return {name: value * 1e6 for name, value in estimate.parts_uj.items()}


def test_the_proxy_charges_every_effective_operation_and_nothing_else(table):
    proxy, _, _ = estimate_energy(WORK, table)
    assert parts_pj(proxy) == pytest.approx(
        {"linear": 1000 * 0.1, "attention": 100 * 0.1, "embedding and readout": 500 * 0.3}
    )
    assert proxy.total_uj == pytest.approx(260e-6)


def test_with_memory_adds_neurons_and_every_byte(table):
    proxy, memory, _ = estimate_energy(WORK, table)
    parts = parts_pj(memory)
    assert {name: parts.pop(name) for name in parts_pj(proxy)} == pytest.approx(parts_pj(proxy))
    assert parts == pytest.approx(
        {
            # 24 x 8 bits are three 8-bit multipliers
            "neurons": 400 * (0.6 + 0.3),
            "residual stream": 400 * (0.1 + 12 * 2.5),
            "weights moved": 2560 * 12.5,
            "accumulators moved": 2 * 2100 * 4 * 1.25,
            # three of four timesteps leave a membrane to the next one
            "membranes moved": 2 * 300 * 4 * 2.5,
            "thresholds moved": 2 * 100 * 4 * 2.5,
            "spikes moved": 2 * 400 / 8 * 1.25,
            "rings moved": (160 + 80 + 2 * 40) / 8 * 2.5,
        }
    )


def test_the_dense_network_runs_once_with_three_bits_and_skips_no_zero(table):
    _, _, dense = estimate_energy(WORK, table)
    assert parts_pj(dense) == pytest.approx(
        {
            "linear": 10_000 * (0.2 * 3 / 8 + 0.1),
            "attention": 100 * (0.2 * 9 / 64 + 0.1) + 100 * (0.2 * 3 / 8 + 0.1),
            "embedding and readout": 500 * 0.3,
            "neurons": 100 * (3.1 + 0.2),
            "residual stream": 100 * (0.1 + 12 * 2.5),
            "weights moved": (10_000 + 550 + 10) * 12.5,
            "scales moved": 2 * 100 * 4 * 2.5,
            "activations moved": 2 * 100 * 3 / 8 * 1.25,
            "rings moved": (800 + 80 + 2 * 40) / 4 * 3 / 8 * 2.5,
        }
    )


def test_energies_are_per_token(table):
    thousand = {name: 1000 * getattr(WORK, name) for name in WorkTotals.__slots__}
    long = WorkTotals(**{**thousand, "timesteps": 4, "neurons": 100})
    for one, many in zip(estimate_energy(WORK, table), estimate_energy(long, table), strict=True):
        assert many.total_uj == pytest.approx(one.total_uj)


@pytest.mark.parametrize(("timesteps", "bits"), [(1, 1), (2, 2), (3, 2), (4, 3), (7, 3), (8, 4), (127, 7)])
def test_the_dense_network_tells_all_spike_counts_apart(timesteps, bits):
    assert dense_bits(timesteps) == bits
    assert 2**bits >= timesteps + 1 > 2 ** (bits - 1)


def test_a_multiplier_scales_with_its_widths_and_the_table_agrees(table):
    assert table.multiply_pj(32, 32) == pytest.approx(table.multiply_32_bit_pj.value, rel=0.05)


@pytest.mark.parametrize(("spikes", "said"), [(40, "10.0% is above about 6%"), (20, "5.0% is not above")])
def test_the_statement_says_on_which_side_of_six_percent_the_student_is(table, spikes, said):
    work = replace(WORK, spikes=spikes)
    statement = spike_rate_statement(work, estimate_energy(work, table))
    assert said in statement
    assert "arXiv 2409.08290" in statement and "ESTIMATED" in statement


EFFECTIVE = {"up": 600, "down": 400}


def placed(parts, *feeds):
    """A network in which each of some populations hears these matrices."""
    return parts.network(
        *(
            parts.population(f"p{number}", 10, *(replace(parts.dense("x", 10), op=op) for op in ops))
            for number, ops in enumerate(feeds)
        )
    )


def test_a_chip_with_published_energies_charges_operations_updates_and_spikes(parts):
    once = placed(parts, ("up",), ("down",))
    found = chip_energy(WORK, EFFECTIVE, once, load_chip("loihi1"))
    assert found == pytest.approx(
        {
            "synaptic operations": 1000 * 23.6e-6,
            "neurons": (300 * 81 + 100 * 52) * 1e-6,
            "spikes": 40 * 1.7e-6,
        }
    )
    high = chip_energy(WORK, EFFECTIVE, once, load_chip("loihi1"), high=True)
    assert high == pytest.approx({**found, "synaptic operations": 1000 * 35.5e-6})


def test_a_matrix_that_several_populations_hear_is_charged_for_each(parts):
    twice = placed(parts, ("up",), ("up", "down"), ("up", "down"))
    found = chip_energy(WORK, EFFECTIVE, twice, load_chip("loihi1"))
    assert found["synaptic operations"] == pytest.approx((3 * 600 + 2 * 400) * 23.6e-6)


def test_relays_that_stand_on_cores_are_charged_too(parts, make_chip):
    chip = make_chip().model_copy(update={"energy_pj": load_chip("loihi1").energy_pj, "energy_reason": None})
    relay = parts.population("sum", 10, replace(parts.dense("x", 10), op="up"), kind="residual", bits=18)
    reader = parts.population("reader", 10, parts.single("sum", 10))
    found = chip_energy(WORK, EFFECTIVE, parts.network(relay, reader), chip)
    assert found["synaptic operations"] == pytest.approx(600 * 23.6e-6)
    # 10 relays in 4 timesteps, each heard by one neuron
    assert found["relays and readout, at most"] == pytest.approx(40 * (81 + 1.7 + 23.6) * 1e-6)


def test_a_chip_without_published_energies_has_none(parts):
    assert chip_energy(WORK, EFFECTIVE, placed(parts, ("up",)), load_chip("loihi2")) is None


@pytest.mark.parametrize("change", [{"high": 20.0}, {"high": 30.0, "high_source": None}, {"high": None}])
def test_the_end_of_a_range_lies_above_its_value_and_has_a_source(change):
    numbers = load_chip("loihi1").energy_pj.synaptic_operation.model_dump()
    with pytest.raises(ValidationError, match="high"):
        EnergyRange.model_validate({**numbers, **change})
