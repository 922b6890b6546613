"""What a job will cost and how long it will take, before anything is paid: nothing here calls a network."""
