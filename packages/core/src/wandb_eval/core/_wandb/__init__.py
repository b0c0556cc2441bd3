"""All uses of private names of wandb.

The public API of wandb has no way to refer to the media of an artifact without
downloading them, to write a file into an artifact without copying it, or to mark a
draft as used without waiting for its upload. The private names that are needed for
this are used here and nowhere else. The tests run on the oldest and the newest wandb
that the package declares.
"""
