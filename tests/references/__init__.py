"""Stored results, and what wrote them."""
