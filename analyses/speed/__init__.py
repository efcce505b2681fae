"""What `analyses/benchmark_speed.py` is made of: workloads, peers, floor, table and figure."""
