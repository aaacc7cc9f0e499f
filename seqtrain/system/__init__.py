"""What seqtrain needs of the machine and the process: files, memory, signals, the terminal, random numbers, errors."""
