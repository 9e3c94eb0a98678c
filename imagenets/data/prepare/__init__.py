"""Preparing a set: download, mask archive, plan, tree or shards, verifying."""
