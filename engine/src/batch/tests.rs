//! Batches from every side: built, cut, damaged, refused.
