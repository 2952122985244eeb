"""The only process with an API token: plans in as files, this node's state out by server-side apply, and its Lease.

One file each: `api` (transport), `plan_watch` (Members in), `withdrawal` (when a plan's absence is believed; pure),
`plan` (what to do with a Member; pure), `desired_directory`, `passwords`, `pod_watch` (pods in, for podReady), `memory`
(what a restart must not lose), `state_reader` (state in), `outbox` (coalescing; pure), `looks` (whether it is still
there; pure), `entry` (bodies; pure), `publisher` (state out), `lease`.
Nothing here is needed for a failover, and nothing here may cause one.
"""
