"""One list of checks, told as text, JSON, HTML and EAR; and in plain words, what each check proves."""
