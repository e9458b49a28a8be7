"""The command `bench`: latency, throughput, memory and energy of exports."""
