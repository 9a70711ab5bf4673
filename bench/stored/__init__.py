"""Runs that are there already: from the store and from other tools, and what they are held against."""
