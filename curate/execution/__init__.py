"""Run a plan: on Ray or in this process, shard by shard, with counts that balance."""
