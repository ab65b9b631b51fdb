"""Checkpoints: files, folders, remote stores; asynchronous, sharded, safetensors; inspect, verify, consolidate, diff."""
