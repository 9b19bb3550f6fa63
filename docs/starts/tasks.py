# The embedded tokenizer writes days in pieces. This one has them as words, as the tokenizer of GPT-2 does.
days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
numbers = ["One", "Two", "Three", "Four", "Five", "Six", "Seven"]
calendar = [f"Let's do some day of the week math. {n} days from {day} is" for n in numbers for day in days]
words = ji.tasks.Words.of(*calendar)
