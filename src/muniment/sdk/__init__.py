"""What an application imports to record its events; standard library only."""
