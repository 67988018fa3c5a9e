"""The batch layer: Spark carries the kernel over raw and commits its states as tiles of the marts."""
