"""Judges of drawn people: what can be read off them, who they are, and how like renders they are."""
