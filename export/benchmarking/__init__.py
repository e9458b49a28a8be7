"""The verb `bench`: latency, throughput, memory and energy of exports."""
