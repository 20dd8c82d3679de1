"""The ways out: one module a kind of receiver. Each has a class with `deliver(notice, now_ns)`; see `Channel` in notify."""
