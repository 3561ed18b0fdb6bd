"""What runs in two processes: a group of them, and the cases that it is asked for."""
