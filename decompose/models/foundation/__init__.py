"""The foundation model: the network, how it answers as a teacher, and weights that a user brings."""
