"""Load and run an export: the artifact, its engine, parity with the expert."""
