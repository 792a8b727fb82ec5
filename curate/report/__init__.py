"""What a run did, as one HTML file that opens from a disk and asks nobody for anything."""
