"""How the model is computed quickly, and in little memory, on CPUs; its modules say what is computed."""
