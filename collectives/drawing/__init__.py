"""Schedules as pictures."""
