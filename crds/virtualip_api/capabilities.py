"""What a script may be given beside its user's own rights (capabilities(7))."""

SCRIPT_CAPABILITIES = ("NET_RAW", "NET_ADMIN", "NET_BIND_SERVICE", "DAC_READ_SEARCH")
"""All but the first only where the agent's own configuration allows it."""
