"""VRRP without I/O: the state machine of RFC 3768 (v2) and RFC 9568 (v3), its codec and its arithmetic.

Nothing here knows a clock, a socket or a kernel. Time comes in as integer nanoseconds of any monotonic clock; what is
to be done comes out as values (effects.py).
"""
