"""What runs without end: the producer, the lander (log to raw) and the speed layer (log to store)."""
