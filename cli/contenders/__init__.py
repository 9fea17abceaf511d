"""The child process of a benchmark: one model in one runtime, told what to do line by line.

This folder stands alone. It needs numpy and the runtime that it runs, nothing of ours, because peers live in
an environment of their own, where their dependencies cannot clash with ours. So a module here imports its
siblings relatively, and no other module of this project (`sanderling` itself is one of the runtimes).
"""
