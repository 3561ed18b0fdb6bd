"""Training loops and trainers that drive a model over batches."""
