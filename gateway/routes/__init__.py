"""Handlers: decode, call, encode. What they call is elsewhere."""
