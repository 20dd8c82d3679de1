"""The query language and the column store it runs on; everything in it can be made anew from the ledger."""
