"""What an audit event is: the arrival a door hands on, its identifiers, nothing that reads or writes."""
