"""Run the stages that need every document: aggregates, shuffles and sequential scans."""
