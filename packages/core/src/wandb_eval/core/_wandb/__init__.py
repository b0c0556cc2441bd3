"""Everything this project knows of wandb's inside, in one package.

The public API of wandb has no way to refer to the media of an artifact without
downloading them, to write a file into an artifact without copying it, or to mark a
draft as used without waiting for its upload. What is private and needed for that is
used here and nowhere else; the tests run on the oldest and the newest wandb that the
package declares.
"""
