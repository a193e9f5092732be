"""Runs in Lava's environment: one stock ``Dense`` into one stock ``LIFReset``, with numbers of an export.

    python stock_worker.py JOB.npz RESULT.npz

The job holds the exported arrays and parameters of one Dense and of the LIFReset that reads it, and spikes
for each timestep ``[steps, inputs]``. The result holds what the two sent in each timestep. All processes are
Lava's own.
"""

import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source
from lava.proc.lif.process import LIFReset
from lava.utils.weightutils import SignMode


def main():
    with np.load(sys.argv[1]) as job:
        spikes, weight = job["spikes"], job["weight"]
        settings = {name: int(job[name]) for name in ("du", "dv", "vth", "reset_interval", "reset_offset")}
        bias = {name: job[name] for name in ("bias_mant", "bias_exp")}
    steps = len(spikes)
    source = Source(data=spikes.T)
    dense = Dense(
        weights=2 * weight.T.astype(np.int32), weight_exp=-1, num_weight_bits=8, sign_mode=SignMode.MIXED
    )
    neurons = LIFReset(shape=(weight.shape[1],), **settings, **bias)
    currents, fired = (Sink(shape=(weight.shape[1],), buffer=steps) for _ in range(2))
    source.s_out.connect(dense.s_in)
    dense.a_out.connect(neurons.a_in)
    dense.a_out.connect(currents.a_in)
    neurons.s_out.connect(fired.a_in)
    neurons.run(condition=RunSteps(steps), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    np.savez(sys.argv[2], currents=currents.data.get().T, spikes=fired.data.get().T)
    neurons.stop()


if __name__ == "__main__":
    main()
