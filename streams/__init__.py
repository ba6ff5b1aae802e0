"""Stream workers: thin Faust apps that hand batches to the runner."""
