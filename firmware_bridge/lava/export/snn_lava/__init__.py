"""The spiking language model as Lava processes; `snn_lava.build` puts them together.

Lava's compiler imports every module of this folder when it looks for process models, so no module here does
anything when it is imported.
"""
