"""`python -m cdtr`, which is also what `accelerate launch -m cdtr train ...` and `torchrun -m` run."""

from cdtr.cli import main

if __name__ == "__main__":
    main()
