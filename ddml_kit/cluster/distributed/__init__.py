"""The machinery of Torchrun: ranks that talk through torch.distributed alone."""
