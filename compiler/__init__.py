"""The compiler: a trained model in, one package file out. Its stages are described in `docs/compiler.md`."""
