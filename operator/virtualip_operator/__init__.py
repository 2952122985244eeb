"""The operator: a planner (VirtualIPs and Nodes in, Members out) and a narrator (what nodes say in, status out).

`planning`, `members`, `silence`, `moves`, `conditions`, `aggregation`, `pruning` are pure. `store` is what is known of
the cluster, `reconciler` one VirtualIP's turn, `work_queue` and `workers` whose turn it is; `handlers` feeds them from
kopf's watches.
"""
