"""The acknowledgement worker: which clients applied which switch, and the results of drills."""
