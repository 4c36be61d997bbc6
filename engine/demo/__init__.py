"""`whoelse demo`: the whole main job with nothing set up. The real daemon over real sockets, against mail servers and clients
of the demo's own, on a clock that jumps over the time in which nothing happens."""

from engine.demo.performance import run as run
