"""Known bugs of the servers under test, as data: what each is, and by which findings it shows."""
