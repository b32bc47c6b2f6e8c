"""Runs on clients: the sampler process and where its numbers come from."""
