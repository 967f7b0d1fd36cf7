"""The paper: what it needs of the models, and its algorithms and equations in their order."""
