"""Small chips and networks made by hand."""

import tomllib
from types import SimpleNamespace

import pytest

from edgesnn import resources
from edgesnn.chips.description import Chip
from edgesnn.chips.network import ChipNetwork, Feed, Population

LOIHI2 = resources.folder("targets") / "chips" / "loihi2.toml"


@pytest.fixture
def make_chip():
    """Loihi 2 with some of its limits changed."""

    def make(**limits):
        document = tomllib.loads(LOIHI2.read_text("utf-8"))
        for key, value in limits.items():
            if value is None:
                del document["limits"][key]
            else:
                document["limits"][key]["value"] = value
        return Chip.model_validate(document)

    return make


@pytest.fixture
def parts():
    """What the tests build networks from."""

    def population(name, neurons, *feeds, kind="lif", bits=1, stock=True):
        return Population(name, kind, neurons, feeds, bits, 8, stock if kind == "lif" else None)

    def dense(source, size, delayed=0):
        return Feed(source, size, size, True, delayed)

    def single(source, size):
        return Feed(source, 1, size, False)

    def network(*populations, attentions=(), obstacles=()):
        return ChipNetwork(4, populations, tuple(attentions), (), tuple(obstacles))

    return SimpleNamespace(population=population, dense=dense, single=single, network=network)
