"""Rules of the harbor: two plugins for tidegate, a policy and an observer."""
