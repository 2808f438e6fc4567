"""The mathematics: pure functions of arrays; a random generator is passed in where one is used."""
