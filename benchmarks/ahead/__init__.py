"""Compiling for an accelerator that is not here, and reading what its compiler thinks of a program.

`compiler` prepares a compiler, `program` says what is compiled, `hlo` reads the optimised program,
`cost` adds up its instructions, `bundles` reads the machine code of its kernels, `products` counts the
products of a traced function, and `measure` puts these together. The programs are in `programs`.
"""
