"""Many visitors at once at a running page: how long they wait, and what fails."""
