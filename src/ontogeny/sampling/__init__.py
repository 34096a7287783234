"""Chains around w*: the local posterior, one file a kernel, the batched loop, and the public entry points."""
