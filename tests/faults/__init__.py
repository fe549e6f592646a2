"""Attacks on the real commands: kills, failing operations and corruptions, with what must hold after each.

``python -m tests.faults`` runs them and prints a count per stage; ``docs/reliability.md`` says what is promised.
"""
