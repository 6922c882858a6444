"""`python -m brainage_ray.cli`: the command, of the package that the current folder has."""

from brainage_ray.cli import main

if __name__ == "__main__":
    main()
