"""The append-only log: sequencer, packs, tiles, head store, and the check that re-derives all of it."""
