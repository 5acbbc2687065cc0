"""The demo: the whole of meshca on one machine, and the example of how its parts fit together.

Read `story.py` first: what `meshca demo` shows, in that order. Then `mesh.py` and `parts.py`: what is started,
each part as an operator would start it. `topology.py` says who is in the mesh; `run.py` cleans up in any case.
"""
