"""What is shown: HTML, charts, numbers for machines, files to take home."""
