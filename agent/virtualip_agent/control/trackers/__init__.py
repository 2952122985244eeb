"""What decides a priority: one module a kind of tracker, and `contribution` for what a result is worth."""
