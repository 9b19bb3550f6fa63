english = [
    "The old men walked to the house in the morning.",
    "She quickly opened the window of the high school.",
]
german = ["Der alte Mann ging am Morgen nach Hause.", "Die Frau kam aus der Stadt und trug einen Brief."]
documents = [(text, "en") for text in english * 2] + [(text, "de") for text in german * 2]
corpus = ji.data.pack(tokenizer, documents, ctx=16)
