"""The vrrp process: the core on real sockets, timers and addresses. One thread; nothing in it blocks or forks."""
