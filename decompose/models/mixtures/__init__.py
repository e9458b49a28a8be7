"""Deployed networks of several regions: adapters in plain operations, picked by an id or mixed by a router."""
