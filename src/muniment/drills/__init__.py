"""A believable company at work: its people, its systems, its days, and the incidents hidden among them."""
