"""Cases: what people work on together, out of alerts; its timeline is worked out from the log at every look."""
