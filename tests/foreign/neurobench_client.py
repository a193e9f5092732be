"""Counts a network with the package neurobench; run by the interpreter of .foreign/neurobench.

    python neurobench_client.py NETWORK.npz

prints one JSON document.
"""

import contextlib
import io
import json
import sys

import numpy as np
import snntorch
import torch
from neurobench.metrics.abstract import WorkloadMetric
from neurobench.metrics.manager.workload_manager import WorkloadMetricManager
from neurobench.metrics.static import ConnectionSparsity, Footprint
from neurobench.metrics.workload import ActivationSparsity, MembraneUpdates, SynapticOperations
from neurobench.models import TorchModel
from torch import nn


def linear(weight, bias=None):
    """An nn.Linear from an input-major matrix."""
    layer = nn.Linear(*weight.shape, bias=bias is not None)
    layer.weight.data = torch.tensor(weight.T, dtype=torch.float32)
    if bias is not None:
        layer.bias.data = torch.tensor(bias, dtype=torch.float32)
    return layer


def leaky(threshold, decay):
    return snntorch.Leaky(
        beta=decay / 256,
        threshold=torch.tensor(threshold, dtype=torch.float32),
        reset_mechanism="zero",
        reset_delay=False,
        init_hidden=True,
    )


def multiply_shift(value, multiplier, shift):
    product = value.to(torch.int64) * torch.tensor(multiplier, dtype=torch.int64)
    return torch.div(product, 1 << int(shift), rounding_mode="trunc")


class Network(nn.Module):
    """nn.Linear and snn.Leaky in a row between a projection and a factorised readout."""

    def __init__(self, arrays):
        super().__init__()
        self.arrays = arrays
        self.projection = linear(arrays["projection"])
        self.leaky = nn.ModuleList(leaky(arrays[f"threshold{i}"], arrays["decay"]) for i in range(3))
        # 64: membranes are in 1/64 of a current
        self.between = nn.ModuleList(
            linear(64 * arrays[f"weight{i}"].astype(np.int64), arrays[f"bias{i}"]) for i in (1, 2)
        )
        self.factor = linear(arrays["factor"], arrays["factor_bias"])
        self.table = linear(arrays["table"].T)

    def forward(self, codes):
        arrays = self.arrays
        snntorch.utils.reset(self)
        current = multiply_shift(self.projection(codes), arrays["multiplier"], arrays["shift"])
        current = 64 * current.float() + torch.tensor(arrays["bias0"], dtype=torch.float32)
        counts = 0
        for _ in range(int(arrays["timesteps"])):
            spikes = self.leaky[0](current)
            for layer, neurons in zip(self.between, self.leaky[1:], strict=True):
                spikes = neurons(layer(spikes))
            counts = counts + spikes
        z = multiply_shift(self.factor(counts), arrays["readout_multiplier"], arrays["readout_shift"])
        return self.table(z.clamp(-127, 127).float())


class Stored(nn.Module):
    """Holds parameters and state in the types of the integer program, for the footprint."""

    def __init__(self, arrays):
        super().__init__()
        for name in arrays.files:
            if name.startswith("stored."):
                array = torch.tensor(arrays[name])
                short = name.removeprefix("stored.").replace(".", "_")
                if short.startswith("state"):
                    self.register_buffer(short, array)
                else:
                    self.register_parameter(short, nn.Parameter(array, requires_grad=False))


class EmbeddingAndAttention(nn.Module):
    """What neurobench has no hook for."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)

    def forward(self, ids):
        x = self.embedding(ids)
        return torch.softmax(x @ x.transpose(-1, -2), -1) @ x


class Broken(WorkloadMetric):
    def __call__(self, model, preds, data):
        raise ValueError("no such thing")


def measured(network, data, metrics):
    model = TorchModel(network)
    model.add_activation_module(snntorch.SpikingNeuron)
    manager = WorkloadMetricManager(metrics)
    manager.register_hooks(model)
    manager.initialize_metrics()
    with torch.no_grad():
        logits = model(data)
        found = manager.run_metrics(model, logits, (data, data), len(data), len(data))
    return logits, dict(found)


def main():
    arrays = np.load(sys.argv[1])
    codes = torch.tensor(arrays["codes"], dtype=torch.float32)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        network = Network(arrays)
        logits, counted = measured(network, codes, [ActivationSparsity, MembraneUpdates, SynapticOperations])
        _, unseen = measured(EmbeddingAndAttention(), torch.tensor([[0, 1, 2]]), [SynapticOperations])
        _, failed = measured(network, codes, [Broken])
        static = {
            "connection_sparsity": ConnectionSparsity()(TorchModel(network)),
            "footprint": Footprint()(TorchModel(Stored(arrays))),
        }
    document = {
        "logits": logits.to(torch.int64).tolist(),
        "counted": counted,
        "unseen": unseen,
        "failed": failed,
        "static": static,
    }
    print(json.dumps(document))


if __name__ == "__main__":
    main()
