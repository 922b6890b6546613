"""What was accepted, asked, answered and emitted, on the disk before it counts."""
