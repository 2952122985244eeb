"""`kubectl vip`: what a person asks about VirtualIPs, answered from what the API has and from the nodes' histories."""
