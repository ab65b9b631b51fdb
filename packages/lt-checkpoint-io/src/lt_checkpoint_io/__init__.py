"""Checkpoints as files, folders and remote objects: asynchronous, sharded, safetensors; inspect, verify, compare."""
