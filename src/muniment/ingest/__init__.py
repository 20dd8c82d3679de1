"""The doors: listeners, admission (who sends, how much) and the pipeline to the ledger."""
