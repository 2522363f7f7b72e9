"""From plain structs to text for people: tables, explanations, comparisons. Reads nothing, decides nothing."""
