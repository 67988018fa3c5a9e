"""Groups of `tidemark` commands: a module each, whose `add_to(app)` adds its commands to the command line."""
