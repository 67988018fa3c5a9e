"""A folder of DAGs of its own: one whose program tells its secrets."""
