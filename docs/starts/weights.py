token = tokenizer.token_id(" Mary")
