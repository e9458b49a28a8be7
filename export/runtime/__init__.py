"""Loading and running an export: the artifact, its engine, parity with the expert."""
