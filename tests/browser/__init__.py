"""A package, so that what its fixtures start ends with it: pytest ends a package's fixtures, not a mere folder's."""
