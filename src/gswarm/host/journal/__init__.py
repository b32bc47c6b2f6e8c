"""The journal: what happened to the plan, in order, flushed before anybody is answered."""
