//! `Io` on the kernel: one io_uring. (being written)
