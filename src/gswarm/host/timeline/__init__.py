"""What happened when: chunks, slots and marks by time, and why a slot had nothing to do. It outlives the journal."""
