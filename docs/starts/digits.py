# The embedded tokenizer writes numbers digit by digit. This one writes a year as two tokens, as that of GPT-2 does.
years = [*(f" {century}" for century in range(11, 18)), *(f"{year:02d}" for year in range(100))]
digits = ji.tasks.Words([*["The", " war", " lasted", " from", " the", " year", " to"], *years])
