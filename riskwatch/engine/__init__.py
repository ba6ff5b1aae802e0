"""The runner and what it drives: pipeline, batches, files, replay, publication and retries."""
