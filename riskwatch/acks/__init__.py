"""The acknowledgement worker: which clients applied which switch, and how drills went."""
