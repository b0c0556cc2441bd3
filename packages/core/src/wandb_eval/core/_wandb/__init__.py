"""The only modules that use private names of wandb.

They refer to media of an artifact without a download, write files into an artifact
without a copy, and mark a draft as used without a wait for its upload.
"""
