"""`make scale`: a real API server and a real operator, and as many simulated agents as a large cluster has.

shape.py   who takes part in what
api.py     requests by anybody's credentials
agent.py   one node's reporter: what it asks of the API, as often as the real one does
wire.py    the nodes' elections, as the agents report them
meter.py   what it cost: requests, watch events, processors, memory
"""
