"""The evaluation of dictionaries: reconstruction, concepts, explanations, ratings."""
