"""Where a run lives: its plan, the Ray it starts or joins, its pools of actors, and the stream of shards."""
