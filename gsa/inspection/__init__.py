"""What a folder holds, said to people: descriptions, checks, the data card."""
