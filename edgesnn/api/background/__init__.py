"""What the background documents ask for beside the rest: their trainer, one exported file, TorchScript."""
