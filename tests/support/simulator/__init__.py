"""Hours of trouble on a virtual LAN in seconds: episodes drawn from an integer, a referee, and shrinking.

    python -m simulator --hours 1000 --seed 1      # make simulate HOURS=1000
    python -m simulator --replay FILE              # an episode as it was printed

An episode is 3 to 8 storms of faults on 2 to 4 nodes, each followed by a repair and a calm; in four of ten each node
has two or three virtual routers, on segments of their own, that are a sync group. It is plain text (episode.py), played
on group_lan.py (play.py), watched event by event by a referee that knows the RFC's arithmetic and nothing of the core's
inside (referee.py), and cut down to what is needed to fail (shrink.py).
"""
