"""The foundation model: the network, its outputs as a teacher, and the user's weights."""
