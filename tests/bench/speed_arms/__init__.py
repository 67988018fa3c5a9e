"""The arms of the speed layer's benchmark: each reads the same topic and keeps the same two counts."""
