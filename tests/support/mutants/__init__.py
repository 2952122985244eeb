"""Mistakes that implementations of VRRP make, made on purpose: does anything notice?

    python -m mutants                # every one: what killed it
    python -m mutants "skew sign"    # one of them, as JSON

Each is an exact replacement in the core's source (catalogue.py), made in a process of its own before anything imports
the core (run.py). That process runs the tests of the RFCs' sentences, and episodes of the simulator.
"""
