"""Runners: one file per way to execute a bundle, all behind the contract of `edgesnn.runners.base`."""
