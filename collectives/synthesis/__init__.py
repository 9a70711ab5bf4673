"""Schedules made for one topology: trees packed at the rate that its cuts allow, and short ways for small sizes."""
