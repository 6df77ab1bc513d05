//! Single-producer single-consumer queues between cores. (being written)
