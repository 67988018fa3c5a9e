"""Invented events of the shipped domains, seeded, and the dimension tables that go with them.

Invariant: what a generator makes is a function of its seed, its shares and its clock; nothing here talks to a server.
"""
