"""The agent: on each node the VRRP engine (vrrp, realtime), its control process and the reporter."""
