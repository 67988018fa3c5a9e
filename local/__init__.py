"""What runs the whole stack on one machine: tools, processes, the demo."""
