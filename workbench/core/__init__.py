"""The mathematics: pure functions of arrays, with a random generator passed in where one is needed."""
