"""What an author of stages imports: the contract of stages and global stages, batches, rules."""
