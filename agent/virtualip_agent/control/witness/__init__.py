"""Who answers for the addresses, and who else speaks VRRP here: asked and listened for in control, so that nothing of
it can delay the wire."""
