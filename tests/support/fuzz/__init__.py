"""Random and mutated packets at the engine's receive path.

python -m fuzz --packets 1000000 --seed 1      # make fuzz PACKETS=1000000
"""
