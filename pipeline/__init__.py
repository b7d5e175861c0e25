"""The book machinery: notebooks are made from their sources, executed, checked and rendered.

Everything takes the project's root as an argument, and nothing here imports torch: a build with nothing to do is fast.
"""
