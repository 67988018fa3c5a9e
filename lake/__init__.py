"""The core that both layers share: declarations, kernel, cuts, tables and the merged answer."""
