"""The dashboard: the merged views of a domain as they are now, batch and speed told apart."""
