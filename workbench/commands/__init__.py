"""The commands of the command line, by subject; ``__main__`` holds the one list of them."""
