"""One measurement each. A part takes the plan and a stage, and gives series of figures and their ratios."""
